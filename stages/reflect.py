"""reflect: the student's own weights quote the first error of a wrong response and write an idea of
how to correct it.

in  data/problems.parquet, iterations/<iteration>/rollouts.parquet, models/<start>
out iterations/<iteration>/reflections.parquet (table reflections)
"""

from collections.abc import Sequence

from rosd_core.config.params import Params
from rosd_core.prompts.fit import PromptBuilder
from rosd_core.prompts.templates import Prompts
from rosd_core.reflect.peers import choose_peers
from rosd_core.reflect.rows import (
    ReflectionTask,
    quote_grammar_of,
    reflect_rows,
    reflection_tasks,
)
from rosd_core.sampling.engine import Decoding, open_engine
from rosd_core.tables.io import read_table
from rosd_core.tables.progress import Progress
from rosd_core.tables.row_types import ReflectionRow
from rosd_core.tables.shards import write_shards
from stages.paths import Paths, set_threads, start_of


def run(params: Params, paths: Paths, iteration: str) -> None:
    """A wrong response is shown beside a correct peer of its group; a group without success is
    skipped.
    """
    p, folder = params.reflect, paths.model_folder(start_of(params, iteration))
    set_threads(params.machine.threads)
    problems = read_table("problems", paths.problems)
    rollouts = read_table("rollouts", paths.table("rollouts", iteration))
    progress, device = Progress("reflections"), params.machine.device
    engine, tokenizer = open_engine(p.engine, folder, device, p.batch_tokens, progress.report)
    prompts = Prompts.from_params(params.prompts.only("reflect_wrong", "reflect_correct"))
    builder = PromptBuilder(prompts, tokenizer, p.max_prompt_tokens)
    peers = choose_peers(rollouts, p.seed, p.enabled, p.peer)
    tasks = reflection_tasks(problems, rollouts, peers, builder)
    decoding = Decoding(p.temperature, p.top_p, p.max_new_tokens)
    grammar_of = quote_grammar_of(p.quote_chars if p.constrain else None)

    def work(shard: Sequence[ReflectionTask]) -> list[ReflectionRow]:
        return reflect_rows(shard, engine, tokenizer, decoding, (p.seed, iteration), grammar_of)

    table = paths.table("reflections", iteration)
    write_shards("reflections", table, tasks, p.shard_rows, work, progress)


if __name__ == "__main__":
    from stages.cli import main

    main("reflect")
