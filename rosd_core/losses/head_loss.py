"""The loss of all supervised tokens and its gradient by hidden states and head: (N, V) is never
held.

Each chunk's logits are computed, overwritten by their own gradient and multiplied back at once:
three matrix products, and no fourth for recomputation.

Dimension names: N supervised token, n token of a chunk, V vocabulary, H hidden.
"""

from dataclasses import dataclass
from typing import Any

import torch

from rosd_core.losses.chunked import Targets, chunk_loss
from rosd_core.losses.head import Head, chunks
from rosd_core.losses.token_losses import LossSettings


@dataclass(frozen=True)
class _Gradients:
    """Gradients by hidden states, matrix and bias, summed over chunks; None where not wanted."""

    hidden_NH: torch.Tensor | None
    matrix_VH: torch.Tensor | None
    bias_V: torch.Tensor | None

    def add(
        self, at: slice, slope_nV: torch.Tensor, hidden_nH: torch.Tensor, head: Head, scale: float
    ) -> None:
        """Add a chunk, given its gradient by the logits."""
        if self.bias_V is not None:
            self.bias_V.add_(slope_nV.sum(0) / scale)
        slope_nV = slope_nV.to(head.matrix_VH.dtype)
        if self.hidden_NH is not None:
            part_nH = torch.mm(slope_nV, head.matrix_VH)
            self.hidden_NH[at] = part_nH.to(self.hidden_NH) / scale
        if self.matrix_VH is not None:
            if slope_nV.dtype == self.matrix_VH.dtype:
                self.matrix_VH.addmm_(slope_nV.t(), hidden_nH, alpha=1 / scale)
            else:
                self.matrix_VH.add_(torch.mm(slope_nV.t(), hidden_nH), alpha=1 / scale)


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
        device = hidden_NH.device.type
        autocast = torch.is_autocast_enabled(device)
        dtype = torch.get_autocast_dtype(device) if autocast else matrix_VH.dtype
        wanted, leaves = ctx.needs_input_grad[:3], (hidden_NH, matrix_VH, bias_V)
        gradients = _Gradients(
            *(
                torch.zeros_like(leaf) if leaf is not None and needed else None
                for leaf, needed in zip(leaves, wanted, strict=True)
            )
        )
        head, cast_NH = Head(matrix_VH, bias_V).cast(dtype), hidden_NH.to(dtype)
        teacher = None if teacher is None else teacher.cast(dtype)
        losses, student = [], []
        with torch.autocast(device, enabled=False):
            for at in chunks(hidden_NH, len(matrix_VH)):
                part, teacher_nV = targets.chunk(at), None
                if teacher is not None and part.hidden_NH is not None:
                    teacher_nV = teacher.logits(part.hidden_NH.to(teacher.matrix_VH))
                logits_nV = head.logits(cast_NH[at])
                chunk = chunk_loss(logits_nV, part, settings, teacher_nV, any(wanted))
                losses.append(chunk.loss_n.sum())
                student.append(chunk.student_n)
                if chunk.gradient_nV is not None:
                    gradients.add(at, chunk.gradient_nV, cast_NH[at], head, scale)
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

    Memory beside the gradients: a few buffers of one chunk's logits. Raises RosdError where the
    loss needs a teacher that is not given.
    """
    out = _HeadLoss.apply(
        hidden_NH, head.matrix_VH, head.bias_V, targets, settings, teacher, float(scale)
    )
    assert out is not None
    return out
