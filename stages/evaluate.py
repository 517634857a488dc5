"""evaluate: mean@k of a model on the test problems of every domain.

in  data/problems.parquet, models/<base or iteration>
out evaluations/<model>.parquet (table evaluation), metrics/evaluate-<model>.json
"""

from collections.abc import Sequence
from functools import partial

from rosd_core.config.params import Params
from rosd_core.errors import RosdError
from rosd_core.evaluate.rows import evaluation_rows
from rosd_core.evaluate.stats import COLUMNS, mean_at_k, sample_metrics
from rosd_core.prompts.fit import PromptBuilder
from rosd_core.prompts.templates import Prompts
from rosd_core.rollout.metrics import shortened_prompts
from rosd_core.rollout.rows import problem_rows, rollout_requests, rollout_rows
from rosd_core.sampling.engine import Decoding, open_engine
from rosd_core.tables.atomic import write_json
from rosd_core.tables.hashing import fingerprint
from rosd_core.tables.io import read_table
from rosd_core.tables.progress import Report
from rosd_core.tables.publish import publishing
from rosd_core.tables.row_types import EvaluationRow, ProblemRow
from rosd_core.tables.shards import write_shards
from rosd_core.workers.pool import Work
from stages.engines import engine_settings, workers
from stages.kept import kept
from stages.origin import origin_of
from stages.paths import Paths, set_threads, warn_shortened


def run(params: Params, paths: Paths, model: str) -> None:
    """All models answer with the same seeds, so that they differ by their weights alone."""
    p, table = params.evaluate, paths.evaluation(model)
    origin = origin_of(params, paths, "evaluate", model)
    problems = problem_rows(read_table("problems", paths.problems).filter(split="test"))
    if not problems:
        raise RosdError(
            f"{paths.problems}: no problem of split test; set test of a domain in prepare.domains."
        )
    size = max(1, p.shard_rows // p.samples)
    opened = partial(open_work, params, paths, model)
    where = workers(params.machine, params.engine, p)
    made_of = kept(params, paths, origin)
    with publishing(paths.root, origin) as together:
        written = write_shards(
            "evaluation", table, problems, size, opened, where, made_of, together
        )
        samples = read_table("evaluation", written, COLUMNS)
        means = mean_at_k(samples, p.confidence, p.bootstrap_resamples, p.seed).to_dicts()
        more = sample_metrics(samples)
        metrics = {
            r["domain"]: {c: r[c] for c in ("mean", "low", "high")} | more[r["domain"]]
            for r in means
        }
        write_json(paths.metrics("evaluate", model), metrics, together)
    warn_shortened("evaluate", shortened_prompts(samples), len(problems))


def open_work(params: Params, paths: Paths, model: str, report: Report) -> Work:
    """The work on a shard of problems."""
    p, folder = params.evaluate, paths.model_folder(model)
    set_threads(params.machine.threads)
    settings = engine_settings(p, params.machine, params.engine)
    engine, tokenizer = open_engine(settings, folder, report)
    prompts = Prompts(
        params.prompts.only("plain"),
        params.prompts.thinking.student,
        params.prompts.examples_for("plain"),
    )
    builder = PromptBuilder(prompts, tokenizer, p.max_prompt_tokens)
    decoding = Decoding(p.temperature, p.top_p, p.max_new_tokens)
    model_hash = fingerprint(folder)

    def work(shard: Sequence[ProblemRow]) -> list[EvaluationRow]:
        requests, shortened = rollout_requests(shard, p.samples, builder, p.seed, "evaluate")
        completions = engine.generate(requests, decoding)
        rows = rollout_rows(shard, requests, completions, tokenizer, model_hash, shortened)
        return evaluation_rows(rows, shard, model)

    return work


if __name__ == "__main__":
    from stages.cli import main

    main("evaluate")
