"""Rows of the score table as tensors: the batches of an optimizer step and their targets.

Dimension names: N supervised token, K support, H hidden.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from rosd_core.distill.processes import process_count, share_of_process
from rosd_core.errors import RosdError
from rosd_core.forward.packing import PackRow, batches, pack_row, packed_tokens, sampled_tokens
from rosd_core.forward.teachers import Teacher
from rosd_core.losses.chunked import Targets
from rosd_core.losses.token_losses import LOSSES, LossSettings
from rosd_core.tables.bfloat16 import from_bfloat16

Rows = Sequence[Mapping[str, Any]]  # of the table scores with token_weight, see token_weights


@dataclass(frozen=True)
class Objective:
    """What the student is trained on: the loss and, where the score table does not hold its
    log-probabilities, the teacher.
    """

    settings: LossSettings
    teacher: Teacher | None = None

    @property
    def live_teacher(self) -> bool:
        """Whether the teacher runs beside the student."""
        return self.teacher is not None and self.teacher.live is not None


@dataclass(frozen=True)
class Batch:
    """Rows of one forward and backward pass, with their packs for the student and, where it runs
    beside it, for the teacher.
    """

    rows: Rows
    student: list[PackRow]
    teacher: list[PackRow]
    counts: bool = True

    def blank(self) -> "Batch":
        """The same with weights of 0, for a process that has to keep others company."""
        weightless = [{"weight": 0.0, "token_weight": 0 * row["token_weight"]} for row in self.rows]
        rows = [{**row, **none} for row, none in zip(self.rows, weightless, strict=True)]
        return replace(self, rows=rows, counts=False)

    @property
    def weight_N(self) -> torch.Tensor:
        """Row weight times token weight of every supervised token."""
        parts = [float(row["weight"]) * row["token_weight"] for row in self.rows]
        return torch.from_numpy(np.concatenate(parts)).float()

    @property
    def own_weight_N(self) -> torch.Tensor:
        """The token weight alone."""
        return torch.from_numpy(np.concatenate([r["token_weight"] for r in self.rows])).float()

    def column(
        self, name: str, device: torch.device, dtype: torch.dtype = torch.float32
    ) -> torch.Tensor:
        """A column of the rows, supervised token after supervised token (N, ...)."""
        parts = [np.asarray(values) for values in _stored(self.rows, name)]
        return torch.from_numpy(np.concatenate(parts)).to(device, dtype)


def split_step(rows: Rows, most: int, live_teacher: bool) -> list[Batch]:
    """The rows of an optimizer step in batches of at most `most` packed tokens, without rows that
    have no supervised token.
    """
    rows = [row for row in rows if len(row["positions"])]
    student = [pack_row(row) for row in rows]
    teacher = [pack_row(row, "teacher_prompt_ids") for row in rows] if live_teacher else None
    return [
        Batch(
            [rows[n] for n in batch],
            [student[n] for n in batch],
            [teacher[n] for n in batch] if teacher else [],
        )
        for batch in batches(student, most, teacher)
    ]


def own_batches(batches: Sequence[Batch], evenly: bool) -> Sequence[Batch]:
    """The share of this process; `evenly` fills it up to that of the first one with a blank."""
    own = share_of_process(batches)
    if evenly and len(own) * process_count() < len(batches):
        smallest = min(batches, key=lambda batch: packed_tokens(batch.student))
        return [*own, smallest.blank()]
    return own


def _stored(rows: Rows, name: str) -> Iterator[Any]:
    """A column of the rows. Raises RosdError where the table was written with other targets."""
    for row in rows:
        if len(row["positions"]) and (row[name] is None or not len(row[name])):
            raise RosdError(
                f"scores.parquet has no {name}: it was written with another score.targets; "
                "run `rosd score` first."
            )
        yield row[name]


def collate(batch: Batch, objective: Objective, device: torch.device) -> Targets:
    """The targets of a batch, supervised token after supervised token."""

    loss, teacher = LOSSES[objective.settings.loss], objective.teacher
    tensors: dict[str, torch.Tensor] = {
        "token_N": sampled_tokens(batch.student).to(device),
        "behaviour_N": batch.column(loss.behaviour, device),
        "weight_N": batch.weight_N.to(device),
        "own_weight_N": batch.own_weight_N.to(device),
    }
    if loss.needs_teacher and teacher is not None:
        if teacher.live is not None:
            tensors["hidden_NH"] = teacher.live.hidden(batch.teacher)
        else:
            stored = zip(_stored(batch.rows, "teacher_hidden"), batch.rows, strict=True)
            parts = [from_bfloat16(hidden, len(row["positions"])) for hidden, row in stored]
            tensors["hidden_NH"] = torch.cat(parts).to(device)
    elif loss.needs_teacher:
        tensors["teacher_N"] = batch.column("teacher_logp", device)
        if loss.on_support:
            tensors["support_NK"] = batch.column("support_ids", device, torch.long)
            tensors["teacher_NK"] = batch.column("support_logp", device)
            tensors["tail_N"] = batch.column("tail_logp", device)
    return Targets(**tensors)


# the status of rows that are not trained on
LEFT_OUT = ("too_long", "negative_lift", "no_divergence", "idea_rejected")


def refuse_unscored(status: Mapping[str, int], loss: str) -> None:
    """Raises RosdError where there is nothing to train on, or no teacher for the loss; `status`
    counts the rows of scores.parquet by status.
    """
    if not any(count for name, count in status.items() if name not in LEFT_OUT):
        counts = ", ".join(f"{status.get(name, 0)} are {name}" for name in LEFT_OUT)
        raise RosdError(
            f"no row of scores.parquet can be trained on: {counts}. too_long: teacher prompt and "
            "response exceed the model's context; lower score.max_prompt_tokens or "
            "rollout.max_new_tokens. negative_lift: see score.row_lift. no_divergence: lower "
            "score.divergence_threshold. idea_rejected: see score.idea_check."
        )
    missing = status.get("no_teacher", 0)
    if LOSSES[loss].needs_teacher and missing:
        raise RosdError(
            f"distill.loss is {loss}, but {missing} rows of scores.parquet have no teacher; "
            "set align.teacher_context to idea, peer, reference or plain, or another distill.loss."
        )
