"""distill: the student moves toward the self-teacher at the supervised tokens, one pass over the
score table.

in  iterations/<iteration>/scores.parquet, models/<start>, optimizers/<start> (base has no state),
    models/base where the teacher's weights or head are needed
out models/<iteration>, optimizers/<iteration>, curves/<iteration>.csv,
    metrics/distill-<iteration>.json
"""

from collections import Counter
from functools import partial

import polars as pl

from rosd_core.config.params import Params
from rosd_core.config.training import student_options
from rosd_core.distill.epoch import scored_steps
from rosd_core.distill.optimizer_state import save_state
from rosd_core.distill.processes import processes, refuse_other_inputs
from rosd_core.distill.sharded import whole_student
from rosd_core.distill.step_log import log_rows, summarise
from rosd_core.distill.targets import LEFT_OUT, Objective, refuse_unscored
from rosd_core.distill.token_weights import TokenWeightSettings
from rosd_core.distill.train import Optimization, train
from rosd_core.distill.watch import Watch
from rosd_core.forward.teachers import (
    open_teacher,
    refuse_other_teacher,
    teacher_fingerprint,
    teacher_shares,
)
from rosd_core.losses.token_losses import LOSSES, LossSettings
from rosd_core.models.loading import load_tokenizer
from rosd_core.models.student import open_student
from rosd_core.prompts.chat import pad_id
from rosd_core.seeds import row_seed
from rosd_core.tables.atomic import write_json
from rosd_core.tables.io import write_csv
from rosd_core.tables.progress import report_steps, reporting
from rosd_core.tables.publish import publishing
from rosd_core.tables.references import checked_scores
from stages.guards import distill_guards
from stages.origin import made_with, origin_of
from stages.paths import Paths, set_threads, start_of
from stages.saves import open_saves, started_with, write_model


def run(params: Params, paths: Paths, iteration: str) -> None:
    """The table holds supervised tokens alone, so valid prefixes cannot be trained on."""
    p, s = params.distill, params.score
    set_threads(params.machine.threads)
    published = publishing(paths.root, origin := origin_of(params, paths, "distill", iteration))
    start, base = paths.model_folder(start_of(params, iteration)), paths.model_folder("base")
    table, seed = paths.table("scores", iteration), row_seed(p.seed, "order", iteration)
    told = checked_scores(table, ["status", "teacher"])
    refuse_unscored(status := Counter(told["status"]), p.loss)
    shares = teacher_shares(paths.teacher(s.teacher), base, start, s.trust_region_mix)
    pad = pad_id(tokenizer := load_tokenizer(start))
    optimization = Optimization(**p.values_for(Optimization))
    settings = LossSettings(**s.values_for(LossSettings) | p.values_for(LossSettings))
    weighing = TokenWeightSettings(**p.values_for(TokenWeightSettings))
    trained = status.total() - sum(status[name] for name in LEFT_OUT)
    if needs_teacher := LOSSES[p.loss].needs_teacher:
        refuse_other_teacher(told["teacher"].drop_nulls().unique().to_list(), shares)
    with (
        processes(params.machine.device, optimization.sharded) as (device, writes),
        published as together,
        reporting("distill", writes) as report,
    ):
        refuse_other_inputs(started_with(params, origin))
        home = "cpu" if optimization.sharded else device  # sharded weights move layer by layer
        opened = partial(open_student, start, root=paths.root, seed=seed, **student_options(p.lora))
        student = opened(device=home)
        teacher = open_teacher(shares, home, pad, student, s.targets) if needs_teacher else None
        saves = open_saves(params, paths, origin, teacher_fingerprint(shares), writes)
        steps = scored_steps(table, weighing, p.rows_per_step, seed, p.shuffle)
        watch = Watch(distill_guards(params, iteration), LOSSES[p.loss].may_rest)
        how = Objective(settings, teacher), optimization, pad, seed, watch
        logs, drift, state = train(student.model, report_steps(steps, trained, report), saves, *how)
        student = whole_student(student, partial(opened, device="cpu"))
        save_state(state, p.merge, paths.optimizer(iteration), together)
        if writes:
            ema = (shares[0][0], s.ema_rate) if s.teacher == "ema" else None
            write_model(student, tokenizer, paths.model(iteration), p.merge, ema, together)
            curve, file = pl.DataFrame(log_rows(logs)), paths.curve(iteration)
            write_csv(curve, file, 6, scientific=True, together=together)
            said = summarise(logs, drift, trained) | made_with(params, "distill", iteration)
            write_json(paths.metrics("distill", iteration), said, together)


if __name__ == "__main__":
    from stages.cli import main

    main("distill")
