"""The loss of all supervised tokens and its gradient by hidden states and head: (N, V) is never
held.

Each chunk's logits are computed, overwritten by their own gradient and multiplied back at once:
three matrix products, and no fourth for recomputation.

Dimension names: N supervised token, n token of a chunk, V vocabulary, H hidden.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch

from rosd_core.losses.chunked import ChunkLoss, Targets, chunk_loss
from rosd_core.losses.head import TRAINED_ROWS, Head, chunk_size, slices
from rosd_core.losses.token_losses import LossSettings

# the losses of a chunk are computed in blocks of at least so many tokens, whose logits stay in a
# CPU's cache
BLOCK_ROWS = {"cpu": 1, "cuda": 1024}


class _Gradients:
    """Gradients by hidden states, matrix and bias, summed over chunks; None where not wanted."""

    def __init__(self, leaves: Sequence[torch.Tensor | None], wanted: Sequence[bool]) -> None:
        self.hidden_NH, self.matrix_VH, self.bias_V = (
            torch.empty_like(leaf) if leaf is not None and needed else None
            for leaf, needed in zip(leaves, wanted, strict=True)
        )
        self.any = any(wanted)

    def add(
        self, at: slice, slope_nV: torch.Tensor, hidden_nH: torch.Tensor, head: Head, scale: float
    ) -> None:
        """Add a chunk, given its gradient by the logits; the first one starts at token 0."""
        kept = 1 if at.start else 0  # of what the buffers hold
        if self.bias_V is not None:
            part_V = slope_nV.sum(0) / scale
            self.bias_V.copy_(self.bias_V + part_V if kept else part_V)
        slope_nV = slope_nV.to(head.matrix_VH.dtype)
        if self.hidden_NH is not None:
            part_nH = torch.mm(slope_nV, head.matrix_VH)
            self.hidden_NH[at] = part_nH.to(self.hidden_NH) / scale
        if self.matrix_VH is None:
            return
        if slope_nV.dtype == self.matrix_VH.dtype:
            self.matrix_VH.addmm_(slope_nV.t(), hidden_nH, beta=kept, alpha=1 / scale)
        elif kept:
            self.matrix_VH.add_(torch.mm(slope_nV.t(), hidden_nH), alpha=1 / scale)
        else:
            self.matrix_VH.copy_(torch.mm(slope_nV.t(), hidden_nH)).mul_(1 / scale)


def _blocks(
    logits_nV: torch.Tensor,
    teacher_nV: torch.Tensor | None,
    targets: Targets,
    settings: LossSettings,
    gradient: bool,
) -> Iterator[ChunkLoss]:
    """The losses of a chunk, block by block; its logits are overwritten by their gradient."""
    tokens, vocabulary = logits_nV.shape
    least = BLOCK_ROWS.get(logits_nV.device.type, 1024)
    for at in slices(tokens, chunk_size(vocabulary, least)):
        block_nV, teachers = logits_nV[at], None if teacher_nV is None else teacher_nV[at]
        found = chunk_loss(block_nV, targets.chunk(at), settings, teachers, gradient)
        slope_nV = found.gradient_nV
        if slope_nV is not None and slope_nV.data_ptr() != block_nV.data_ptr():
            block_nV.copy_(slope_nV)
        yield found


class _HeadLoss(torch.autograd.Function):
    """Summed loss of N tokens over `scale`; the gradients are computed in the forward pass."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden_NH: torch.Tensor,
        matrix_VH: torch.Tensor,
        bias_V: torch.Tensor | None,
        targets: Targets,
        settings: LossSettings,
        teacher: Head | None,
        scale: float,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        device, (tokens, vocabulary) = hidden_NH.device.type, (len(hidden_NH), len(matrix_VH))
        autocast = torch.is_autocast_enabled(device)
        dtype = torch.get_autocast_dtype(device) if autocast else matrix_VH.dtype
        gradients = _Gradients((hidden_NH, matrix_VH, bias_V), ctx.needs_input_grad[:3])
        head, cast_NH = Head(matrix_VH, bias_V).cast(dtype), hidden_NH.to(dtype)
        teacher = None if teacher is None else teacher.cast(dtype)
        size = min(tokens, chunk_size(vocabulary, TRAINED_ROWS.get(device, 1024)))
        buffer_nV = hidden_NH.new_empty(size, vocabulary, dtype=torch.float32)
        losses, student = [], []
        teachers_nV = None if teacher is None else torch.empty_like(buffer_nV)
        with torch.autocast(device, enabled=False):
            for at in slices(tokens, size):
                part, teacher_nV = targets.chunk(at), None
                if teacher is not None and part.hidden_NH is not None:
                    hidden_nH = part.hidden_NH.to(teacher.matrix_VH)
                    teacher_nV = teacher.logits(hidden_nH, teachers_nV)
                logits_nV = head.logits(cast_NH[at], buffer_nV)
                for block in _blocks(logits_nV, teacher_nV, part, settings, gradients.any):
                    losses.append(block.loss_n.sum())
                    student.append(block.student_n)
                if gradients.any:
                    gradients.add(at, logits_nV, cast_NH[at], head, scale)
        ctx.gradients = (gradients.hidden_NH, gradients.matrix_VH, gradients.bias_V)
        student_N = torch.cat(student)
        ctx.mark_non_differentiable(student_N)
        return torch.stack(losses).sum() / scale, student_N

    @staticmethod
    def backward(ctx: Any, *outputs: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        factor, gradients = outputs[0], ctx.gradients
        ctx.gradients = None
        if factor.item() != 1:
            for gradient in gradients:
                if gradient is not None:
                    gradient.mul_(factor)
        return (*gradients, None, None, None, None)


def head_loss(
    hidden_NH: torch.Tensor,
    head: Head,
    targets: Targets,
    settings: LossSettings,
    teacher: Head | None = None,
    scale: float = 1.0,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The summed loss of N tokens divided by `scale` (differentiable), and the student's
    log-probabilities of the sampled tokens, (N,).

    Memory beside the gradients: one chunk's logits, with a teacher's head two, and some of a
    block. Raises RosdError where the loss needs a teacher that is not given.
    """
    out = _HeadLoss.apply(
        hidden_NH, head.matrix_VH, head.bias_V, targets, settings, teacher, float(scale)
    )
    assert out is not None
    return out
