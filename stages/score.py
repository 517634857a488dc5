"""score: the self-teacher reads problem + idea + the very same response tokens and says what should
come next.

in  data/problems.parquet, rollouts, reflections and alignments of the iteration, models/base,
models/<start> out iterations/<iteration>/scores.parquet (table scores)
"""

import polars as pl
import torch

from rosd_core.config.params import Params
from rosd_core.forward.hidden_states import Reader
from rosd_core.forward.teachers import open_reader, teacher_folders
from rosd_core.models.loading import folder_context_length, load_tokenizer, low_precision
from rosd_core.prompts.chat import pad_id
from rosd_core.prompts.templates import Prompts
from rosd_core.score.rows import score_rows, score_tasks, unread_rows
from rosd_core.tables.io import read_rows, read_table
from rosd_core.tables.shards import Rows, write_shards
from stages.paths import Paths, set_threads, start_of


def run(params: Params, paths: Paths, iteration: str) -> None:
    """Only supervised positions are kept; the idea is given, never the solution."""
    p, prompts, device = (
        params.score,
        Prompts.from_params(params.prompts.model_dump()),
        params.machine.device,
    )
    set_threads(params.machine.threads)
    problems = read_table("problems", paths.problems)
    files = {n: paths.table(n, iteration) for n in ("alignments", "rollouts", "reflections")}
    status = read_table("alignments", files["alignments"], ["rollout_id", "status"])
    supervised = status.filter(pl.col("status") == "supervised").select("rollout_id").to_dicts()
    start, base = paths.weights(start_of(params, iteration)), paths.weights("base")
    tokenizer = load_tokenizer(start)
    student: Reader | None = None
    teacher: Reader | None = None
    if p.targets != "none":
        pad, own = pad_id(tokenizer), [(start, 1.0)]
        student = open_reader(own, device, pad, p.batch_tokens)
        folders = teacher_folders(p.teacher, base, start, p.trust_region_mix)
        loaded = {start: student.parts[0]}
        teacher = open_reader(folders, device, pad, p.batch_tokens, loaded)

    def work(shard: Rows) -> Rows:
        ids = [row["rollout_id"] for row in shard]
        rows = {name: read_rows(name, file, ids) for name, file in files.items()}
        shown = rows["reflections"]["peer_id"].drop_nulls().to_list()
        peers = read_rows("rollouts", files["rollouts"], shown)
        tasks = score_tasks(
            problems, **rows, peers=peers, tokenizer=tokenizer, prompts=prompts,
            longest=p.max_prompt_tokens,
        )  # fmt: skip
        if student is None or teacher is None:
            return unread_rows(tasks, folder_context_length(start))
        with low_precision(torch.device(device).type, p.autocast):
            return score_rows(tasks, student, teacher, p.targets, p.support, p.top_k)

    write_shards("scores", paths.table("scores", iteration), supervised, p.shard_rows, work)


if __name__ == "__main__":
    from stages.cli import main

    main("score")
