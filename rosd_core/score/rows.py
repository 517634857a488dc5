"""Rows of the table `scores`: the teacher's distribution at every supervised token, on a support of
K ids and its tail, or as its final hidden states.

Dimension names: N supervised token, K support, M shown id, H hidden.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from rosd_core.forward.hidden_states import ModelMix
from rosd_core.forward.packing import batches, pack_row, sampled_tokens
from rosd_core.losses.support import tail_logp
from rosd_core.score.comparison import Comparison, compare
from rosd_core.score.lift import drop_negative
from rosd_core.score.onset import start_at_onset
from rosd_core.tables.bfloat16 import to_bfloat16
from rosd_core.tables.progress import Report, silent
from rosd_core.tables.row_types import ScoreInput, ScoreRow


@dataclass(frozen=True)
class ScoreSettings:
    """`params.yaml: score`, as far as scoring reads it; the names are the same there."""

    targets: str
    support: str
    top_k: int
    batch_tokens: int
    row_lift: str
    divergence_threshold: float
    show_top: int


def unscored(row: ScoreInput, status: str, support: str) -> ScoreRow:
    """A row without targets. It keeps its supervised tokens unless it is too long."""
    scored: ScoreRow = {
        **row,
        "teacher_logp": (),
        "support_ids": (),
        "support_logp": (),
        "tail_logp": (),
        "divergence": (),
        "student_entropy": (),
        "student_top_ids": (),
        "student_top_logp": (),
        "teacher_top_ids": (),
        "teacher_top_logp": (),
        "teacher_hidden": None,
        "idea_gain": None,
        "support": support,
        "status": status,
        "teacher": None,
    }
    if status == "too_long":
        scored["positions"], scored["behaviour_logp"], scored["student_logp"] = [], [], []
    return scored


def status_of(row: ScoreInput, context_length: int, targets: str) -> str:
    """The value of the column `status`."""
    if not row["teacher_prompt_ids"]:
        return "no_teacher"
    if len(row["teacher_prompt_ids"]) + len(row["response_ids"]) > context_length:
        return "too_long"
    return "deferred" if targets == "none" else "scored"


def deferred_rows(inputs: Sequence[ScoreInput], context_length: int) -> list[ScoreRow]:
    """Rows for a teacher that distill runs itself: no model is run here."""
    return [unscored(row, status_of(row, context_length, "none"), "none") for row in inputs]


def name_teacher(rows: Sequence[ScoreRow], teacher: str) -> Sequence[ScoreRow]:
    """The rows, with the fingerprint of the teacher's weights on those that have a teacher."""
    for row in rows:
        row["teacher"] = None if row["status"] == "no_teacher" else teacher
    return rows


def score_rows(
    inputs: Sequence[ScoreInput],
    student: ModelMix,
    teacher: ModelMix,
    settings: ScoreSettings,
    report: Report = silent,
) -> list[ScoreRow]:
    """Rows of the table, in the order of the inputs.

    Targets `topk` store the teacher's log-probabilities on the support, `hidden` its final hidden
    states, from which any divergence over the whole vocabulary can be computed later. A row that
    does not fit the model's context is kept with status `too_long` and no supervised token; one
    without teacher keeps its tokens, with status `no_teacher`.
    """
    status = [status_of(row, teacher.context_length, settings.targets) for row in inputs]
    rows = [
        unscored(row, state, settings.support if state == "scored" else "none")
        for row, state in zip(inputs, status, strict=True)
    ]
    scored = [row for row in rows if row["status"] == "scored"]
    own = [pack_row(row) for row in scored]
    theirs = [pack_row(row, "teacher_prompt_ids") for row in scored]
    heads, done = (student.head(), teacher.head()), 0
    # the diagnostic columns compare on the student's ids where the support is `full`
    support = "student" if settings.support == "full" else settings.support
    for batch in batches(own, settings.batch_tokens, theirs):
        student_NH = student.hidden([own[b] for b in batch])
        teacher_NH = teacher.hidden([theirs[b] for b in batch])
        token_N = sampled_tokens([own[b] for b in batch]).to(student_NH.device)
        found = compare(
            student_NH, heads[0], teacher_NH, heads[1], token_N, support, settings.top_k,
            settings.show_top,
        )  # fmt: skip
        _fill([scored[b] for b in batch], found, teacher_NH, settings.targets)
        done += len(batch)
        report(done, len(scored), len(token_N))
    start_at_onset(scored, settings.divergence_threshold)
    if settings.row_lift == "drop":
        drop_negative(scored)
    return rows


def _fill(
    rows: Sequence[ScoreRow], found: Comparison, teacher_NH: torch.Tensor, targets: str
) -> None:
    """Write the columns of a batch into its rows."""
    sizes = [len(row["positions"]) for row in rows]

    def split(column_N: torch.Tensor) -> list[np.ndarray]:
        return [part.numpy() for part in column_N.cpu().split(sizes)]

    student, teacher = split(found.student_N), split(found.teacher_N)
    divergence, entropy = split(found.divergence_N), split(found.entropy_N)
    for n, row in enumerate(rows):
        row["student_logp"], row["teacher_logp"] = student[n], teacher[n]
        row["divergence"], row["student_entropy"] = divergence[n], entropy[n]
    if found.student_top_NM.shape[1]:
        ids = split(found.student_top_NM.int()), split(found.teacher_top_NM.int())
        logp = split(found.student_top_logp_NM), split(found.teacher_top_logp_NM)
        for n, row in enumerate(rows):
            row["student_top_ids"], row["teacher_top_ids"] = ids[0][n], ids[1][n]
            row["student_top_logp"], row["teacher_top_logp"] = logp[0][n], logp[1][n]
    if targets == "hidden":
        for row, hidden_nH in zip(rows, teacher_NH.split(sizes), strict=True):
            row["teacher_hidden"] = to_bfloat16(hidden_nH)
        return
    ids, logp = split(found.support_NK.int()), split(found.teacher_NK)
    tail = split(tail_logp(found.teacher_NK))
    for n, row in enumerate(rows):
        row["support_ids"], row["support_logp"], row["tail_logp"] = ids[n], logp[n], tail[n]
