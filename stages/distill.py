"""distill: the student is pulled to the self-teacher at the supervised tokens, one epoch over the
score table.

in  iterations/<iteration>/scores.parquet, models/<start> (with its optimizer state, if it has one),
    models/base where the teacher's weights or head are needed
out models/<iteration>, curves/<iteration>.csv, metrics/distill-<iteration>.json
"""

import math
from collections import Counter

import polars as pl
from safetensors.torch import save_file

from rosd_core.config.params import Params
from rosd_core.distill.train import (
    SELF_TEACHING,
    STATE_FILE,
    kept_state,
    processes,
    refuse_unscored,
    steps,
    summarise,
    train,
)
from rosd_core.forward.teachers import FOLDER, advance_ema, open_taught, teacher_folders
from rosd_core.losses.head import TokenLoss
from rosd_core.models.loading import load_tokenizer, open_student, save_student
from rosd_core.prompts.chat import pad_id
from rosd_core.seeds import row_seed
from rosd_core.tables.atomic import replacing, replacing_folder, write_json
from rosd_core.tables.io import read_table, row_groups
from stages.paths import Paths, set_threads, start_of

OPTIMIZATION = (
    "learning_rate", "warmup_steps", "betas", "weight_decay", "grad_clip", "batch_tokens",
    "autocast", "gradient_checkpointing",
)  # fmt: skip


def run(params: Params, paths: Paths, iteration: str) -> None:
    """Valid prefixes are not in the table, so they cannot be trained on. One process writes."""
    p, scored = params.distill, params.score
    set_threads(params.machine.threads)
    table, seed = paths.table("scores", iteration), row_seed(p.seed, "order", iteration)
    status = Counter(read_table("scores", table, ["status"])["status"])
    refuse_unscored(status, p.loss)
    start, base = paths.weights(start_of(params, iteration)), paths.weights("base")
    folders = teacher_folders(scored.teacher, base, start, scored.trust_region_mix)
    tokenizer = load_tokenizer(start)
    pad = pad_id(tokenizer)
    scored_rows = (
        [r for r in rows if r["status"] != "too_long"] for rows in row_groups("scores", table)
    )
    how = TokenLoss(
        p.loss, p.alpha, p.tail, p.importance_clip, p.entry_clip or math.inf, p.policy_clip,
        scored.support, scored.top_k,
    )  # fmt: skip
    with processes(params.machine.device) as (device, first):
        student = open_student(start, device, p.new_adapter, paths.root, seed)
        taught = (
            open_taught(folders, device, pad, scored.batch_tokens, student, scored.targets)
            if p.loss in SELF_TEACHING
            else None
        )
        chosen = steps(scored_rows, p.rows_per_step, seed, p.shuffle)
        logs, state = train(
            student.model, chosen, None if start == base else start, how=how, pad_id=pad,
            taught=taught, seed=seed,
            **p.model_dump(include=set(OPTIMIZATION)),
        )  # fmt: skip
        if first:
            with replacing_folder(paths.model(iteration)) as target:
                save_student(student, tokenizer, target, p.merge)
                save_file(kept_state(state, p.merge), target / STATE_FILE)
                if scored.teacher == "ema":
                    advance_ema(folders[0][0], student, scored.ema_rate, target / FOLDER)
            with replacing(paths.curve(iteration)) as temporary:
                pl.DataFrame(logs).write_csv(temporary, float_precision=6, float_scientific=True)
            trained = sum(status.values()) - status["too_long"]
            write_json(paths.metrics("distill", iteration), summarise(logs, trained))


if __name__ == "__main__":
    from stages.cli import main

    main("distill")
