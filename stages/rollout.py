"""rollout: the student samples G responses per problem from its plain prompt; a grader judges
each. Or the responses are there already (`rollout.file`), and the grader judges those.

in  data/problems.parquet, models/<start>
out iterations/<iteration>/rollouts.parquet (table rollouts), metrics/rollout-<iteration>.json
"""

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from rosd_core.config.params import Params
from rosd_core.models.loading import load_generation_config, load_model, load_tokenizer
from rosd_core.prompts.chat import pad_id, stop_ids
from rosd_core.prompts.fit import PromptBuilder
from rosd_core.prompts.templates import Prompts
from rosd_core.rollout.from_file import Encoding, GivenSamples, keep_samples
from rosd_core.rollout.given_engine import GivenEngine
from rosd_core.rollout.given_table import kept_sizes
from rosd_core.rollout.metrics import COLUMNS, rollout_metrics
from rosd_core.rollout.rows import problem_rows, rollout_requests, rollout_rows, sample_problems
from rosd_core.rollout.signs import COMPARED, compared, sample_signs
from rosd_core.sampling.engine import Decoding, Engine, open_engine
from rosd_core.tables.atomic import write_json
from rosd_core.tables.hashing import fingerprint
from rosd_core.tables.io import read_table
from rosd_core.tables.progress import Report
from rosd_core.tables.publish import publishing
from rosd_core.tables.row_types import ProblemRow, RolloutRow
from rosd_core.tables.shards import write_shards
from rosd_core.tables.user_file import read_user_parts
from rosd_core.workers.pool import Work
from stages.engines import engine_settings, workers
from stages.guards import earlier_metrics, sample_guards
from stages.kept import kept
from stages.origin import origin_of
from stages.paths import Paths, set_threads, start_of, warn_shortened

GIVEN = "given.parquet"  # the samples of rollout.file


def run(params: Params, paths: Paths, iteration: str) -> None:
    """Sampled ids and behaviour log-probs are kept: no later stage encodes a response again."""
    p, machine = params.rollout, params.machine
    start_of(params, iteration)  # a key of the loop
    origin = origin_of(params, paths, "rollout", iteration)
    train = read_table("problems", paths.problems).filter(split="train")
    made_of = kept(params, paths, origin)
    given = given_samples(params, paths, iteration, made_of)
    if given is None:
        problems = sample_problems(train, p.problems, p.seed, iteration)
    else:
        problems = problem_rows(train.filter(train["problem_id"].is_in(list(given.sizes))))
    table, where = paths.table("rollouts", iteration), workers(machine, params.engine, p)
    opened = partial(open_work, params, paths, iteration, made_of)
    with publishing(paths.root, origin) as together:
        size = p.shard_problems
        written = write_shards("rollouts", table, problems, size, opened, where, made_of, together)
        metrics = rollout_metrics(read_table("rollouts", written, COLUMNS)) | sample_signs(written)
        metrics |= {} if given is None else given.metrics()
        write_json(paths.metrics("rollout", iteration), metrics, together)
    warn_shortened("rollout", int(metrics["shortened"]), len(problems))
    if given is None:
        signs = compared(metrics, earlier_metrics(params, paths, iteration, COMPARED))
        headline = f"the samples of {iteration} look like those of a collapsed model:"
        sample_guards(params, "rollout", iteration).check(headline, signs)
    else:  # not the student's samples: no sign of a collapse
        warn_left_out(given, str(paths.given_rollouts(p.file, iteration)))


def given_samples(
    params: Params, paths: Paths, iteration: str, folder: Path
) -> GivenSamples | None:
    """What `rollout.file` has; `folder` gets the table of its samples. None where the student
    samples.
    """
    file = paths.given_rollouts(params.rollout.file, iteration)
    if file is None:
        return None
    model = paths.model_folder(start_of(params, iteration))
    tokenizer = load_tokenizer(model)
    stops = stop_ids(load_generation_config(model), tokenizer)
    encoding = Encoding(tokenizer, stops, params.rollout.max_new_tokens)
    parts = read_user_parts(str(file), "rollout.file")
    problems = read_table("problems", paths.problems)
    return keep_samples(parts, str(file), problems, encoding, folder / GIVEN)


def warn_left_out(given: GivenSamples, file: str) -> None:
    """Say on stderr which rows of `rollout.file` are left out, if some are."""
    if message := given.message(file):
        print(f"rosd rollout: {message}", file=sys.stderr)


def open_work(params: Params, paths: Paths, iteration: str, kept_in: Path, report: Report) -> Work:
    """The work on a shard of problems. `given_samples` has been called for the folder `kept_in`."""
    p, folder = params.rollout, paths.model_folder(start_of(params, iteration))
    set_threads(params.machine.threads)
    given, sizes = kept_in / GIVEN, p.group_size
    if p.file is None:
        settings = engine_settings(p, params.machine, params.engine)
        engine, tokenizer = open_engine(settings, folder, report)
    else:
        model, tokenizer = load_model(folder, params.machine.device)
        sizes = kept_sizes(given)
        engine: Engine = GivenEngine(model, given, pad_id(tokenizer), p.batch_tokens, report)
    prompts = Prompts(
        params.prompts.only("plain"),
        params.prompts.thinking.student,
        params.prompts.examples_for("plain"),
    )
    builder = PromptBuilder(prompts, tokenizer, p.max_prompt_tokens)
    decoding = Decoding(p.temperature, p.top_p, p.max_new_tokens, model_logprobs=True)
    model_hash = fingerprint(folder)

    def work(shard: Sequence[ProblemRow]) -> list[RolloutRow]:
        requests, shortened = rollout_requests(shard, sizes, builder, p.seed, iteration)
        completions = engine.generate(requests, decoding)
        return rollout_rows(shard, requests, completions, tokenizer, model_hash, shortened)

    return work


if __name__ == "__main__":
    from stages.cli import main

    main("rollout")
