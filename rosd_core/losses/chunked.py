"""The loss of a chunk of supervised tokens, from its logits to its gradient by them.

    s = log softmax(z)                 the loss depends on s at a few ids k, dL/ds_k = g_k
    dL/dz_v = g_v - p_v sum_k g_k      sparse g, dense p

Dimension names: N supervised token, n token of a chunk, K support, C bucket, V vocabulary,
H hidden.
"""

from dataclasses import dataclass, replace

import torch

from rosd_core.errors import RosdError
from rosd_core.losses.support import (
    TAIL_FLOOR,
    choose_support,
    renormalised,
    tail_logp,
    with_tail,
)
from rosd_core.losses.token_losses import LOSSES, LossSettings, TokenInputs, row_importance


@dataclass(frozen=True)
class Targets:
    """What the loss compares N supervised tokens with; each tensor's first dimension is N.

    The teacher is given as log-probabilities (of the sampled token, of a support, of its tail), or
    as hidden states (with the teacher's head), or not at all.
    """

    token_N: torch.Tensor
    behaviour_N: torch.Tensor
    weight_N: torch.Tensor
    teacher_N: torch.Tensor | None = None
    support_NK: torch.Tensor | None = None
    teacher_NK: torch.Tensor | None = None
    tail_N: torch.Tensor | None = None
    hidden_NH: torch.Tensor | None = None
    own_weight_N: torch.Tensor | None = None

    def chunk(self, at: slice) -> "Targets":
        given = {name: value for name, value in vars(self).items() if value is not None}
        return Targets(**{name: value[at] for name, value in given.items()})


@dataclass(frozen=True)
class ChunkLoss:
    """Losses of n tokens, the student's log-probabilities of the sampled ones, and the gradient of
    the summed loss by the logits (None where it is not wanted).
    """

    loss_n: torch.Tensor
    student_n: torch.Tensor
    gradient_nV: torch.Tensor | None


def _with_teacher(
    logits_nV: torch.Tensor, targets: Targets, settings: LossSettings, teacher_nV: torch.Tensor
) -> Targets:
    """The targets with the teacher's log-probabilities, from its logits: of the sampled token and,
    where the loss reads one, of a support.
    """
    lse_n1 = teacher_nV.logsumexp(-1, keepdim=True)
    teacher_n = (teacher_nV.gather(1, targets.token_N.unsqueeze(1)) - lse_n1).squeeze(1)
    if not LOSSES[settings.loss].reads_support:
        return replace(targets, teacher_N=teacher_n)
    support_nK = choose_support(logits_nV, teacher_nV, settings.support, settings.top_k)
    teacher_nK = teacher_nV.gather(1, support_nK) - lse_n1
    return replace(
        targets, teacher_N=teacher_n, support_NK=support_nK, teacher_NK=teacher_nK,
        tail_N=tail_logp(teacher_nK),
    )  # fmt: skip


def chunk_loss(
    logits_nV: torch.Tensor,
    targets: Targets,
    settings: LossSettings,
    teacher_nV: torch.Tensor | None,
    gradient: bool = True,
) -> ChunkLoss:
    """The loss of a chunk. The logits are overwritten, the teacher's too.

    Raises RosdError where the loss needs a teacher that is not given.
    """
    entry = LOSSES[settings.loss]
    stored = targets.support_NK is not None if entry.on_support else targets.teacher_N is not None
    if entry.needs_teacher and not stored:
        if teacher_nV is None:
            raise RosdError(
                f"distill.loss {settings.loss} needs a teacher, and there are no targets of one."
            )
        if entry.on_support and settings.support == "full":
            return _whole_vocabulary(logits_nV, targets, settings, teacher_nV, gradient)
        targets = _with_teacher(logits_nV, targets, settings, teacher_nV)
    return _picked_ids(logits_nV, targets, settings, gradient)


def _whole_vocabulary(
    logits_nV: torch.Tensor,
    targets: Targets,
    settings: LossSettings,
    teacher_nV: torch.Tensor,
    gradient: bool,
) -> ChunkLoss:
    """The loss over all ids: by the entry's own gradient in place, else by autograd."""
    entry, token_n1 = LOSSES[settings.loss], targets.token_N.unsqueeze(1)
    teacher_nV.sub_(teacher_nV.logsumexp(-1, keepdim=True))
    if entry.whole_vocabulary is not None:
        student_nV = logits_nV.sub_(logits_nV.logsumexp(-1, keepdim=True))
        student_n = student_nV.gather(1, token_n1).squeeze(1)
        inputs = TokenInputs(student_n, targets.behaviour_N, targets.weight_N)
        factor_n = row_importance(inputs, settings)
        loss_n, slope_nV = entry.whole_vocabulary(student_nV, teacher_nV, settings)
        slope_nV = slope_nV.mul_(factor_n.unsqueeze(1)) if gradient else None
        return ChunkLoss(factor_n * loss_n, student_n, slope_nV)
    with torch.enable_grad():
        leaf_nV = logits_nV.detach().requires_grad_(gradient)
        student_nV = leaf_nV.log_softmax(-1)
        student_n = student_nV.gather(1, token_n1).squeeze(1)
        teacher_n = teacher_nV.gather(1, token_n1).squeeze(1)
        inputs = TokenInputs(
            student_n, targets.behaviour_N, targets.weight_N, teacher_n, student_nV, teacher_nV,
            targets.own_weight_N,
        )  # fmt: skip
        loss_n = entry.function(inputs, settings)
        slope_nV = torch.autograd.grad(loss_n.sum(), leaf_nV)[0] if gradient else None
    return ChunkLoss(loss_n.detach(), student_n.detach(), slope_nV)


@dataclass(frozen=True)
class _Picked:
    """A chunk's log-probabilities at the ids that the loss reads, and what its gradient needs.

    exp_nV is exp(z - max), 0 on the support where there is a tail; total_n1 its row sums before
    that; inside_nK its entries on the support; outside_n1 what is left, summed: in fp32 the tail
    as 1 - sum p would have no digits near 0.
    """

    exp_nV: torch.Tensor
    total_n1: torch.Tensor
    student_n1: torch.Tensor
    student_nK: torch.Tensor | None = None
    tail_n1: torch.Tensor | None = None
    inside_nK: torch.Tensor | None = None
    outside_n1: torch.Tensor | None = None

    def leaves(self) -> list[torch.Tensor]:
        return [x for x in (self.student_n1, self.student_nK, self.tail_n1) if x is not None]


def _pick(
    logits_nV: torch.Tensor, token_n1: torch.Tensor, support_nK: torch.Tensor | None, tail: bool
) -> _Picked:
    """Log-probabilities at the sampled token, the support and its tail; the logits are
    overwritten.
    """
    token_z = logits_nV.gather(1, token_n1)
    support_z = None if support_nK is None else logits_nV.gather(1, support_nK)
    most_n1 = logits_nV.amax(-1, keepdim=True)
    total_n1 = logits_nV.sub_(most_n1).exp_().sum(-1, keepdim=True)
    log_total_n1 = total_n1.log()
    lse_n1 = log_total_n1 + most_n1
    if support_nK is None or support_z is None:
        return _Picked(logits_nV, total_n1, token_z - lse_n1)
    student_nK = support_z - lse_n1
    if not tail:
        return _Picked(logits_nV, total_n1, token_z - lse_n1, student_nK)
    inside_nK = logits_nV.gather(1, support_nK)
    outside_n1 = logits_nV.scatter_(1, support_nK, 0).sum(-1, keepdim=True)
    outside_n1.clamp_(min=torch.finfo(outside_n1.dtype).tiny)
    tail_n1 = outside_n1.log() - log_total_n1
    return _Picked(
        logits_nV, total_n1, token_z - lse_n1, student_nK, tail_n1, inside_nK, outside_n1
    )


def _inputs(picked: _Picked, targets: Targets, settings: LossSettings) -> TokenInputs:
    """What the loss function sees."""
    student_nC, teacher_nC = None, None
    if picked.student_nK is not None and targets.teacher_NK is not None:
        if picked.tail_n1 is None:
            student_nC = renormalised(picked.student_nK)
            teacher_nC = renormalised(targets.teacher_NK)
        else:
            tail_n1 = picked.tail_n1.clamp(min=TAIL_FLOOR)
            student_nC = torch.cat([picked.student_nK, tail_n1], -1)
            teacher_nC = with_tail(targets.teacher_NK, targets.tail_N)
    return TokenInputs(
        picked.student_n1.squeeze(1), targets.behaviour_N, targets.weight_N, targets.teacher_N,
        student_nC, teacher_nC, targets.own_weight_N,
    )  # fmt: skip


def _picked_ids(
    logits_nV: torch.Tensor, targets: Targets, settings: LossSettings, gradient: bool
) -> ChunkLoss:
    """The loss from a few ids per token: autograd as far as their log-probabilities, from there to
    the logits by hand.
    """
    entry, token_n1 = LOSSES[settings.loss], targets.token_N.unsqueeze(1)
    support_nK = targets.support_NK if entry.reads_support else None
    picked = _pick(logits_nV, token_n1, support_nK, settings.tail == "bucket")
    leaves = picked.leaves()
    with torch.enable_grad():
        for leaf in leaves:
            leaf.requires_grad_(gradient)
        loss_n = entry.function(_inputs(picked, targets, settings), settings)
        if not gradient:
            return ChunkLoss(loss_n, picked.student_n1.squeeze(1), None)
        found = torch.autograd.grad(loss_n.sum(), leaves, allow_unused=True)
    slopes = [
        torch.zeros_like(leaf) if slope is None else slope
        for leaf, slope in zip(leaves, found, strict=True)
    ]
    gradient_nV = _gradient_of_logits(picked, slopes, token_n1, support_nK)
    return ChunkLoss(loss_n.detach(), picked.student_n1.detach().squeeze(1), gradient_nV)


def _gradient_of_logits(
    picked: _Picked,
    slopes: list[torch.Tensor],
    token_n1: torch.Tensor,
    support_nK: torch.Tensor | None,
) -> torch.Tensor:
    """dL/dz (n, V), written over exp(z - max), from dL/ds of the sampled token, of the support and
    of the tail. The tail's share goes to the ids outside of the support, by their probability.
    """
    gradient_nV = picked.exp_nV
    share_n1 = -sum((slope.sum(-1, keepdim=True) for slope in slopes), 0.0) / picked.total_n1
    if support_nK is None or picked.inside_nK is None or picked.outside_n1 is None:
        gradient_nV.mul_(share_n1)
    else:
        gradient_nV.mul_(share_n1 + slopes[2] / picked.outside_n1)
        gradient_nV.scatter_add_(1, support_nK, picked.inside_nK * share_n1)
    for ids, slope in zip((token_n1, support_nK), slopes, strict=False):
        if ids is not None:
            gradient_nV.scatter_add_(1, ids, slope)
    return gradient_nV
