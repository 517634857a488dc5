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
from rosd_core.forward.hidden_states import ModelMix
from rosd_core.forward.teachers import load_mix, teacher_shares
from rosd_core.models.loading import folder_context_length, load_tokenizer, low_precision
from rosd_core.prompts.chat import pad_id
from rosd_core.prompts.fit import PromptBuilder
from rosd_core.prompts.templates import Prompts
from rosd_core.score.inputs import score_inputs
from rosd_core.score.lift import check_lift, lift_metrics, read_gains
from rosd_core.score.rows import ScoreSettings, deferred_rows, score_rows
from rosd_core.tables.atomic import write_json
from rosd_core.tables.io import read_rows, read_table
from rosd_core.tables.progress import Progress
from rosd_core.tables.row_types import ScoreRow
from rosd_core.tables.shards import write_shards
from stages.paths import Paths, set_threads, start_of


def run(params: Params, paths: Paths, iteration: str) -> None:
    """Only supervised tokens are scored. ROSD's teacher reads the idea, never the solution."""
    p, device = params.score, params.machine.device
    set_threads(params.machine.threads)
    problems = read_table("problems", paths.problems)
    files = {n: paths.table(n, iteration) for n in ("alignments", "rollouts", "reflections")}
    status = read_table("alignments", files["alignments"], ["rollout_id", "status"])
    supervised = status.filter(status="supervised")["rollout_id"].to_list()
    start, base = paths.model_folder(start_of(params, iteration)), paths.model_folder("base")
    tokenizer = load_tokenizer(start)
    settings = ScoreSettings(**p.values_for(ScoreSettings))
    prompts = Prompts.from_params(params.prompts.only("with_idea", "with_solution"))
    builder = PromptBuilder(prompts, tokenizer, p.max_prompt_tokens)
    progress = Progress("scores")
    models: tuple[ModelMix, ModelMix] | None = None
    if p.targets != "none":
        student = load_mix([(start, 1.0)], device, pad_id(tokenizer))
        shares = teacher_shares(p.teacher, base, start, p.trust_region_mix)
        models = student, load_mix(shares, device, pad_id(tokenizer), {start: student.parts[0]})

    def work(ids: Sequence[str]) -> list[ScoreRow]:
        rows = {name: read_rows(name, file, ids) for name, file in files.items()}
        peer_ids = rows["reflections"]["peer_id"].drop_nulls().to_list()
        peers = read_rows("rollouts", files["rollouts"], peer_ids)
        inputs = score_inputs(problems, **rows, peers=peers, builder=builder)
        if models is None:
            return deferred_rows(inputs, folder_context_length(start))
        with low_precision(torch.device(device).type, p.autocast):
            return score_rows(inputs, *models, settings, progress.report)

    table = paths.table("scores", iteration)
    write_shards("scores", table, supervised, p.shard_rows, work, progress)
    lift = lift_metrics(read_gains(table, files["alignments"]), p.lift_confidence)
    write_json(paths.metrics("score", iteration), lift)
    if message := check_lift(lift, p.lift):
        print(f"rosd score: {message}", file=sys.stderr)


if __name__ == "__main__":
    from stages.cli import main

    main("score")
