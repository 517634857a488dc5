"""align: error quote -> characters of the response -> supervised tokens. No model is needed.

in  data/problems.parquet, rollouts and reflections of the iteration, tokenizer of models/<start>
out iterations/<iteration>/alignments.parquet (table alignments), metrics/align-<iteration>.json
"""

from rosd_core.align.eligibility import AlignSettings
from rosd_core.align.inputs import align_inputs
from rosd_core.align.metrics import AlignmentCounts
from rosd_core.align.token_spans import TokenMap
from rosd_core.config.params import Params
from rosd_core.pocket.oracle import known_errors
from rosd_core.tables.atomic import write_json
from rosd_core.tables.io import read_table, to_arrow
from rosd_core.tables.publish import publishing
from rosd_core.tables.writer import table_writer
from stages.origin import origin_of
from stages.paths import Paths, start_of


def run(params: Params, paths: Paths, iteration: str) -> None:
    """Whether a response is distilled, and from which token on, is decided here, once."""
    start = paths.model_folder(start_of(params, iteration))
    origin = origin_of(params, paths, "align", iteration)
    problems = read_table("problems", paths.problems)
    token_map = TokenMap.of_folder(start)
    settings = AlignSettings(**params.align.values_for(AlignSettings))
    counts, by_id = AlignmentCounts(), {p["problem_id"]: p for p in problems.to_dicts()}
    rollouts, reflections = (paths.table(t, iteration) for t in ("rollouts", "reflections"))
    batches = align_inputs(problems, rollouts, reflections, settings.reads_peer)
    with publishing(paths.root, origin) as together:
        table = paths.table("alignments", iteration)
        with table_writer("alignments", table, together) as writer:
            for batch in batches:
                rows = [i.row(token_map, settings) for i in batch]
                asked = {i.rollout["problem_id"]: by_id[i.rollout["problem_id"]] for i in batch}
                counts.add(rows, known_errors(asked.values(), (i.rollout for i in batch)))
                writer.add(to_arrow("alignments", rows))
        write_json(paths.metrics("align", iteration), counts.metrics(), together)


if __name__ == "__main__":
    from stages.cli import main

    main("align")
