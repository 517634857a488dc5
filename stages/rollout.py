"""rollout: the student samples G responses per problem, plain prompt; a grader gives each its
reward.

in  data/problems.parquet, models/<start>
out iterations/<iteration>/rollouts.parquet (table rollouts)
"""

import polars as pl

from rosd_core.config.params import Params
from rosd_core.prompts.templates import Prompts
from rosd_core.rollout.rows import rollout_requests, rollout_rows, sample_problems
from rosd_core.sampling.engine import Decoding, open_engine
from rosd_core.tables.hashing import fingerprint
from rosd_core.tables.io import read_table
from rosd_core.tables.shards import Rows, write_shards
from stages.paths import Paths, set_threads, start_of


def run(params: Params, paths: Paths, iteration: str) -> None:
    """Sampled ids and behaviour log-probabilities are kept: later stages never encode a response
    again.
    """
    p, prompts = params.rollout, Prompts.from_params(params.prompts.model_dump())
    folder = paths.weights(start_of(params, iteration))
    set_threads(params.machine.threads)
    train = read_table("problems", paths.problems).filter(pl.col("split") == "train")
    problems = sample_problems(train, p.problems, p.seed, iteration)
    engine, tokenizer = open_engine(p.engine, folder, params.machine.device, p.batch_rows)
    decoding = Decoding(p.temperature, p.top_p, p.max_new_tokens)
    model = fingerprint(folder)

    def work(shard: Rows) -> Rows:
        requests, lacking = rollout_requests(
            shard, p.group_size, tokenizer, prompts, p.seed, iteration, p.max_prompt_tokens
        )
        completions = engine.generate(requests, decoding)
        return rollout_rows(shard, requests, completions, tokenizer, model, lacking)

    write_shards("rollouts", paths.table("rollouts", iteration), problems, p.shard_problems, work)


if __name__ == "__main__":
    from stages.cli import main

    main("rollout")
