"""align: error quote -> characters of the response -> supervised tokens. No model is needed.

in  data/problems.parquet, rollouts and reflections of the iteration, tokenizer of models/<start>
out iterations/<iteration>/alignments.parquet (table alignments), metrics/align-<iteration>.json
"""

from rosd_core.align.eligibility import AlignSettings, groups_of
from rosd_core.align.metrics import alignment_metrics
from rosd_core.align.rows import align_row
from rosd_core.align.token_spans import TokenMap
from rosd_core.config.params import Params
from rosd_core.pocket.oracle import known_errors
from rosd_core.tables.atomic import write_json
from rosd_core.tables.io import join_rows, read_table, write_table
from rosd_core.tables.publish import publishing
from rosd_core.tables.references import check_reflections, check_rollouts
from stages.origin import origin_of
from stages.paths import Paths, start_of


def run(params: Params, paths: Paths, iteration: str) -> None:
    """Whether a response is distilled, and from which token on, is decided here, once."""
    start = paths.model_folder(start_of(params, iteration))
    origin = origin_of(params, paths, "align", iteration)
    problems = read_table("problems", paths.problems)
    rollouts = read_table("rollouts", paths.table("rollouts", iteration))
    reflections = read_table("reflections", paths.table("reflections", iteration))
    check_rollouts(rollouts, problems, paths.table("rollouts", iteration))
    check_reflections(reflections, rollouts, paths.table("reflections", iteration))
    token_map = TokenMap.of_folder(start)
    settings = AlignSettings(**params.align.values_for(AlignSettings))
    groups = groups_of(problems, rollouts)
    response = dict(rollouts.select("rollout_id", "response").iter_rows())
    rows = [
        align_row(
            reflection,
            rollout,
            response.get(reflection["peer_id"]),
            token_map.spans(rollout["response_ids"], rollout["response"]),
            groups[rollout["rollout_id"]],
            settings,
        )
        for reflection, rollout in join_rows(reflections, rollouts)
    ]
    metrics = alignment_metrics(rows, known_errors(problems.to_dicts(), rollouts.to_dicts()))
    with publishing(paths.root, origin) as together:
        write_table("alignments", rows, paths.table("alignments", iteration), together)
        write_json(paths.metrics("align", iteration), metrics, together)


if __name__ == "__main__":
    from stages.cli import main

    main("align")
