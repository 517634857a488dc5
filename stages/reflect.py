"""reflect: the student's own weights find where a wrong response first errs (quote) and say how to
mend it (idea).

in  data/problems.parquet, iterations/<iteration>/rollouts.parquet, models/<start>
out iterations/<iteration>/reflections.parquet (table reflections)
"""

from rosd_core.config.params import Params
from rosd_core.prompts.templates import Prompts
from rosd_core.reflect.peers import choose_peers
from rosd_core.reflect.rows import reflect_rows, reflection_tasks
from rosd_core.sampling.engine import Decoding, open_engine
from rosd_core.tables.io import read_table
from rosd_core.tables.shards import Rows, write_shards
from stages.paths import Paths, set_threads, start_of


def run(params: Params, paths: Paths, iteration: str) -> None:
    """A wrong response is shown beside a correct peer of its group; a group without success is
    skipped.
    """
    p, prompts = params.reflect, Prompts.from_params(params.prompts.model_dump())
    set_threads(params.machine.threads)
    problems = read_table("problems", paths.problems)
    rollouts = read_table("rollouts", paths.table("rollouts", iteration))
    folder = paths.weights(start_of(params, iteration))
    engine, tokenizer = open_engine(p.engine, folder, params.machine.device, p.batch_rows)
    peers = choose_peers(rollouts, p.seed, p.enabled, p.peer)
    tasks = reflection_tasks(problems, rollouts, peers, prompts, tokenizer, p.max_prompt_tokens)
    decoding = Decoding(p.temperature, p.top_p, p.max_new_tokens)

    quote_chars = p.quote_chars if p.constrain else None

    def work(shard: Rows) -> Rows:
        return reflect_rows(shard, engine, tokenizer, decoding, p.seed, iteration, quote_chars)

    write_shards("reflections", paths.table("reflections", iteration), tasks, p.shard_rows, work)


if __name__ == "__main__":
    from stages.cli import main

    main("reflect")
