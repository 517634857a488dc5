"""reflect: the student's own weights find where a wrong response first errs (quote) and say how to
mend it (idea).

in  data/problems.parquet, iterations/<iteration>/rollouts.parquet, models/<start>
out iterations/<iteration>/reflections.parquet (table reflections)
"""

from rosd_core.engine import Decoding, open_engine
from rosd_core.params import Params
from rosd_core.reflection import choose_peers, reflect_rows, reflection_tasks
from rosd_core.shards import Rows, write_shards
from rosd_core.tables import read_table
from stages.common import Paths, prompts_of, set_threads, start_of


def run(params: Params, paths: Paths, iteration: str) -> None:
    """A wrong response is shown beside a correct peer of its group; a group without success is
    skipped.
    """
    p, prompts = params.reflect, prompts_of(params.prompts)
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
