"""verify: whether chosen rows of rollouts and scores come out the same when they are made again.

in  what the stages rollout and score read; iterations/<iteration>/rollouts.parquet, scores.parquet
    where it is there
"""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from rosd_core.config.params import Params
from rosd_core.errors import RosdError
from rosd_core.rollout.rows import problem_rows
from rosd_core.seeds import row_seed
from rosd_core.tables.compare import differences
from rosd_core.tables.io import read_rows, read_table
from rosd_core.tables.progress import silent
from stages import rollout, score
from stages.origin import origin_of, refuse_stale_table
from stages.paths import Paths


def check(
    params: Params, paths: Paths, iteration: str, rows: int, seed: int, tolerance: float
) -> dict[str, int]:
    """Rows of each table that were made again and are the same; `rows` of each are drawn by the
    seed. A rollout is made again with its whole group. Raises RosdError naming the rows that
    differ, and where a table is stale.
    """
    known = origin_of(params, paths, "rollout", iteration).inputs
    refuse_stale_table(params, paths, "rollout", iteration, known)
    file = paths.table("rollouts", iteration)
    ids = _chosen(read_table("rollouts", file, ["rollout_id"])["rollout_id"].to_list(), rows, seed)
    stored = read_rows("rollouts", file, ids).to_dicts()
    wanted = [row["problem_id"] for row in stored]
    problems = read_table("problems", paths.problems)
    asked = problem_rows(problems.filter(problems["problem_id"].is_in(wanted)))
    (paths.root / ".rosd").mkdir(exist_ok=True)
    with TemporaryDirectory(dir=paths.root / ".rosd") as folder:
        rollout.given_samples(params, paths, iteration, Path(folder))
        again = rollout.open_work(params, paths, iteration, Path(folder), silent)(asked)
    wrong = [f"{file}: {line}" for line in differences("rollouts", stored, again, tolerance)]
    done = {"rollouts": len(stored)}
    file = paths.table("scores", iteration)
    if file.is_file():
        origin_of(params, paths, "distill", iteration)  # which reads them
        scored = read_table("scores", file, ["rollout_id"])["rollout_id"].to_list()
        ids = _chosen(scored, rows, seed)
        stored = read_rows("scores", file, ids).to_dicts()
        again = score.open_work(params, paths, iteration, silent)(ids)
        wrong += [f"{file}: {line}" for line in differences("scores", stored, again, tolerance)]
        done["scores"] = len(stored)
    if wrong:
        raise RosdError(
            "\n".join(wrong) + "\nThe tables do not hold what the stages write now: run "
            f"`rosd rollout {iteration}` or `rosd score {iteration}` again. Engines other than "
            "transformers do not promise equal tokens."
        )
    return done


def _chosen(ids: Sequence[str], count: int, seed: int) -> list[str]:
    """`count` of the ids, drawn by the seed."""
    return sorted(ids, key=lambda name: row_seed(seed, "verify", name))[:count]
