"""score: the self-teacher reads problem + idea + the very same response tokens and gives its
next-token distribution at every supervised one.

in  data/problems.parquet, rollouts, reflections and alignments of the iteration, models/base,
    models/<start>
out iterations/<iteration>/scores.parquet (table scores), metrics/score-<iteration>.json
"""

import sys
from collections.abc import Sequence

import torch

from rosd_core.config.params import Params
from rosd_core.forward.teachers import load_pair, teacher_shares
from rosd_core.models.loading import folder_context_length, load_tokenizer, low_precision
from rosd_core.prompts.chat import pad_id
from rosd_core.prompts.fit import PromptBuilder
from rosd_core.prompts.templates import Prompts
from rosd_core.sampling.engine import Decoding, open_engine
from rosd_core.score.inputs import STATUS_COLUMNS, InputReader, supervised_ids
from rosd_core.score.lift import check_lift, lift_metrics, read_gains
from rosd_core.score.rows import ScoreSettings, deferred_rows, score_rows
from rosd_core.score.teacher_accuracy import rows_to_sample, teacher_accuracy, the_one_folder
from rosd_core.tables.atomic import write_json
from rosd_core.tables.io import read_table
from rosd_core.tables.progress import Progress
from rosd_core.tables.row_types import ScoreRow
from rosd_core.tables.shards import write_shards
from stages.paths import Paths, set_threads, start_of, warn_shortened


def run(params: Params, paths: Paths, iteration: str) -> None:
    """Only supervised tokens are scored. ROSD's teacher reads the idea, never the solution."""
    p, r, device = params.score, params.rollout, params.machine.device
    set_threads(params.machine.threads)
    problems = read_table("problems", paths.problems)
    files = {n: paths.table(n, iteration) for n in ("alignments", "rollouts", "reflections")}
    alignments = read_table("alignments", files["alignments"], STATUS_COLUMNS)
    supervised = supervised_ids(alignments, files["alignments"])
    start, base = paths.model_folder(start_of(params, iteration)), paths.model_folder("base")
    shares = teacher_shares(p.teacher, base, start, p.trust_region_mix)
    tokenizer, accuracy, progress = load_tokenizer(start), {}, Progress("scores")
    templates = params.prompts.only("plain", "with_idea", "with_solution")
    examples = params.prompts.examples_for("plain")
    prompts = Prompts(templates, params.prompts.thinking.teacher, examples)
    inputs = InputReader(problems, files, PromptBuilder(prompts, tokenizer, p.max_prompt_tokens))
    settings = ScoreSettings(**p.values_for(ScoreSettings))
    if p.teacher_samples:
        teacher = open_engine(r.engine, the_one_folder(shares), device, r.batch_tokens)
        chosen = inputs.read(rows_to_sample(alignments, p.teacher_samples, r.seed))
        known = problems, files["rollouts"], p.lift_confidence
        decoding = Decoding(r.temperature, r.top_p, r.max_new_tokens)
        accuracy = teacher_accuracy(chosen, *known, *teacher, decoding)
    models = None if p.targets == "none" else load_pair(start, shares, device, pad_id(tokenizer))

    def work(ids: Sequence[str]) -> list[ScoreRow]:
        if models is None:
            return deferred_rows(inputs.read(ids), folder_context_length(start))
        with low_precision(torch.device(device).type, p.autocast):
            return score_rows(inputs.read(ids), *models, settings, progress.report)

    table = paths.table("scores", iteration)
    write_shards("scores", table, supervised, p.shard_rows, work, progress)
    metrics = lift_metrics(read_gains(table), p.lift_confidence) | accuracy
    cut = len(supervised) - read_table("scores", table, ["shortened"])["shortened"].null_count()
    write_json(paths.metrics("score", iteration), metrics | {"shortened": cut})
    warn_shortened("score", cut, len(supervised))
    if message := check_lift(metrics, p.lift):
        print(f"rosd score: {message}", file=sys.stderr)


if __name__ == "__main__":
    from stages.cli import main

    main("score")
