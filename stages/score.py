"""score: the self-teacher reads problem + idea + the very same response tokens and gives its
next-token distribution at every supervised one.

in  data/problems.parquet, rollouts, reflections and alignments of the iteration, models/base,
    models/<start>
out iterations/<iteration>/scores.parquet (table scores), metrics/score-<iteration>.json
"""

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from rosd_core.config.params import Params
from rosd_core.forward.teachers import (
    Shares,
    load_mix,
    load_pair,
    refuse_other_tokenizer,
    teacher_fingerprint,
    teacher_shares,
)
from rosd_core.models.loading import (
    folder_context_length,
    load_tokenizer,
    low_precision,
    release_memory,
)
from rosd_core.prompts.chat import pad_id
from rosd_core.prompts.fit import PromptBuilder
from rosd_core.prompts.templates import Prompts
from rosd_core.sampling.engine import Decoding, EngineSettings, open_engine
from rosd_core.score.contrast import contrasted
from rosd_core.score.idea_check import idea_gains, read_trials, reject_ideas
from rosd_core.score.inputs import STATUS_COLUMNS, InputReader, supervised_ids
from rosd_core.score.lift import check_lift, lift_metrics, lift_policy, read_gains
from rosd_core.score.rows import ScoreSettings, deferred_rows, name_teacher, score_rows
from rosd_core.score.signs import base_kl, distribution_signs
from rosd_core.score.teacher_accuracy import rows_to_sample, teacher_accuracy, the_one_folder
from rosd_core.score.token_means import token_means
from rosd_core.tables.atomic import write_json
from rosd_core.tables.io import read_table
from rosd_core.tables.progress import Report
from rosd_core.tables.publish import publishing
from rosd_core.tables.row_types import ScoreRow
from rosd_core.tables.shards import write_shards
from rosd_core.workers.pool import Work
from stages.engines import workers
from stages.guards import sample_guards
from stages.kept import kept
from stages.origin import origin_of
from stages.parity import check
from stages.paths import Paths, set_threads, start_of, warn_shortened


def run(params: Params, paths: Paths, iteration: str) -> None:
    """Only supervised tokens are scored. ROSD's teacher reads the idea, never the solution."""
    p, r, device = params.score, params.rollout, params.machine.device
    set_threads(params.machine.threads)
    start_of(params, iteration)  # a key of the loop
    origin = origin_of(params, paths, "score", iteration)
    inputs, shares = open_inputs(params, paths, iteration)
    file = inputs.files["alignments"]
    alignments = read_table("alignments", file, STATUS_COLUMNS)
    supervised = supervised_ids(alignments, file)
    metrics: dict[str, Any] = {**check(params, paths, iteration, params.engine.parity.rows)}
    if (guards := sample_guards(params, "score", iteration)).measures("base_kl"):
        metrics["base_kl"] = distance_to_base(params, paths, iteration)
    if p.teacher_samples:
        settings = EngineSettings(  # vllm has the student
            "transformers", device, r.batch_tokens, autocast=r.autocast
        )
        chosen = inputs.read(rows_to_sample(alignments, p.teacher_samples, r.seed))
        known = inputs.problems, inputs.files["rollouts"], p.lift_confidence
        decoding = Decoding(r.temperature, r.top_p, r.max_new_tokens)
        teacher = the_one_folder(shares)  # its engine has to be gone before the models are loaded
        metrics |= teacher_accuracy(chosen, *known, *open_engine(settings, teacher), decoding)
    table, opened = paths.table("scores", iteration), partial(open_work, params, paths, iteration)
    where = workers(params.machine, params.engine)
    made_of = kept(params, paths, origin)
    release_memory(device)  # of the models that the checks had: a worker may have this GPU
    with publishing(paths.root, origin) as together:
        size = p.shard_rows
        written = write_shards("scores", table, supervised, size, opened, where, made_of, together)
        metrics |= lift_metrics(read_gains(written), p.lift_confidence)
        shortened = read_table("scores", written, ["shortened"])["shortened"]
        cut = len(supervised) - shortened.null_count()
        metrics |= {"shortened": cut, "tokens": token_means(written), **distribution_signs(written)}
        write_json(paths.metrics("score", iteration), metrics, together)
    warn_shortened("score", cut, len(supervised))
    headline = f"the distributions of {iteration} look like those of a collapsed model:"
    guards.check(headline, metrics)
    if message := check_lift(metrics, lift_policy(alignments["teacher_context"], p.lift)):
        print(f"rosd score: {message}", file=sys.stderr)


def distance_to_base(params: Params, paths: Paths, iteration: str) -> float | None:
    """KL of the student to the base in nats per token; None where it is the base itself."""
    if start_of(params, iteration) == "base":
        return None
    base, device = paths.model_folder("base"), params.machine.device
    with low_precision(torch.device(device).type, params.score.autocast):
        mix = load_mix([(base, 1.0)], device, pad_id(load_tokenizer(base)))
        return base_kl(paths.table("rollouts", iteration), mix)


def open_inputs(params: Params, paths: Paths, iteration: str) -> tuple[InputReader, Shares]:
    """What the teacher reads, and the folders of its weights."""
    start, base = paths.model_folder(start_of(params, iteration)), paths.model_folder("base")
    p, tokenizer, teacher = params.score, load_tokenizer(start), paths.teacher(params.score.teacher)
    if isinstance(teacher, Path):
        refuse_other_tokenizer(teacher, tokenizer)
    templates = params.prompts.only(
        "plain", "with_idea", "with_solution", "with_feedback", "with_critique"
    )
    examples = params.prompts.examples_for("plain")
    prompts = Prompts(templates, params.prompts.thinking.teacher, examples)
    files = {n: paths.table(n, iteration) for n in ("alignments", "rollouts", "reflections")}
    builder = PromptBuilder(prompts, tokenizer, p.max_prompt_tokens)
    inputs = InputReader(read_table("problems", paths.problems), files, builder)
    return inputs, teacher_shares(teacher, base, start, p.trust_region_mix)


def open_work(params: Params, paths: Paths, iteration: str, report: Report) -> Work:
    """The work on a shard of supervised rollouts."""
    p, device = params.score, params.machine.device
    set_threads(params.machine.threads)
    inputs, shares = open_inputs(params, paths, iteration)
    start = paths.model_folder(start_of(params, iteration))
    pad, settings = pad_id(inputs.builder.tokenizer), ScoreSettings(**p.values_for(ScoreSettings))
    models = None if p.targets == "none" else load_pair(start, shares, device, pad)
    teacher = teacher_fingerprint(shares)
    context = min(folder_context_length(folder) for folder, _ in shares)

    def work(ids: Sequence[str]) -> Sequence[ScoreRow]:
        if models is None:
            rows = deferred_rows(inputs.read(ids), context)
            return name_teacher(rows, teacher)
        with low_precision(torch.device(device).type, p.autocast):
            read = inputs.read(ids)
            teaching = contrasted(models[1], inputs, read, p.contrast, params.rollout.seed)
            rows = score_rows(read, models[0], teaching, settings, report)
            if p.idea_check == "drop":
                trials = read_trials(inputs, rows)
                reject_ideas(rows, idea_gains(trials, models[1], p.batch_tokens))
        return name_teacher(rows, teacher)

    return work


if __name__ == "__main__":
    from stages.cli import main

    main("score")
