"""align: error quote -> characters of the response -> first supervised token. No model is needed.

in  data/problems.parquet, rollouts and reflections of the iteration, tokenizer of models/<start>
out iterations/<iteration>/alignments.parquet (table alignments), metrics/align-<iteration>.json
"""

import polars as pl

from rosd_core.align.rows import advantages, align_row, alignment_metrics
from rosd_core.align.token_spans import TokenMap
from rosd_core.config.params import Params
from rosd_core.pocket.world import known_errors
from rosd_core.tables.atomic import write_json
from rosd_core.tables.io import join_rows, read_table, to_arrow, write_table
from stages.paths import Paths, start_of


def run(params: Params, paths: Paths, iteration: str) -> None:
    """Whether and from where a response is distilled is decided here, once."""
    problems = read_table("problems", paths.problems).to_dicts()
    rollouts = read_table("rollouts", paths.table("rollouts", iteration))
    reflections = read_table("reflections", paths.table("reflections", iteration))
    token_map = TokenMap.of_folder(paths.weights(start_of(params, iteration)))
    response = dict(rollouts.select("rollout_id", "response").iter_rows())
    rows = []
    has_reference = {p["problem_id"]: p["solution"] is not None for p in problems}
    gains = advantages(
        {
            key: dict(group.select("rollout_id", "reward").iter_rows())
            for (key,), group in rollouts.group_by("problem_id", maintain_order=True)
        }
    )
    missed = set(rollouts.filter(~pl.col("success"))["problem_id"])
    for reflection, rollout in join_rows(reflections, rollouts):
        problem_id = rollout["problem_id"]
        row = align_row(
            reflection,
            rollout,
            response.get(reflection["peer_id"]),
            token_map.spans(rollout["response_ids"], rollout["response"]),
            has_reference=has_reference.get(problem_id, False),
            group_all_success=problem_id not in missed,
            advantage=gains[rollout["rollout_id"]],
            **params.align.model_dump(),
        )
        rows.append(row)
    write_table("alignments", to_arrow("alignments", rows), paths.table("alignments", iteration))
    metrics = alignment_metrics(rows, known_errors(problems, rollouts.to_dicts()))
    write_json(paths.metrics("align", iteration), metrics)


if __name__ == "__main__":
    from stages.cli import main

    main("align")
