"""The language head on supervised tokens alone, in chunks: log-probabilities, and the loss with its
gradient, without ever holding (N, V).

A chunk's logits are made, turned into their own gradient in place and multiplied back at once: the
three matrix products that are needed, and no fourth for recomputation.

    s = log softmax(z), z = h W^T      L depends on s at a few picked ids, dL/ds_k = g_k
    dL/dz_v = g_v - p_v sum_k g_k      sparse g, dense p

Dimension names: N supervised token, n token of a chunk, K support, C buckets, V vocabulary,
H hidden.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedModel

from rosd_core.errors import RosdError
from rosd_core.losses.divergence import (
    TAIL_FLOOR,
    choose_support,
    importance_weight,
    jsd,
    jsd_gradient,
    renormalised,
    tail_logp,
    with_tail,
)

CHUNK_ENTRIES = 1 << 22  # logits of a chunk: 16 MiB in fp32, about what a CPU's cache can hold
CHUNK_ROWS = {"cpu": 64, "cuda": 1024}  # but at least this many tokens: W is read once per chunk


@dataclass(frozen=True)
class Head:
    """A language head: logits = h W^T + b."""

    weight_VH: torch.Tensor
    bias_V: torch.Tensor | None = None

    def logits(self, hidden_nH: torch.Tensor) -> torch.Tensor:
        """(n, V) in fp32."""
        logits_nV = torch.mm(hidden_nH, self.weight_VH.t()).float()
        return logits_nV if self.bias_V is None else logits_nV.add_(self.bias_V.float())


def head_of(model: PreTrainedModel) -> Head:
    """The model's head. Raises RosdError where logits are not linear in the hidden state."""
    layer: Any = model.get_output_embeddings()
    for name in ("final_logit_softcapping", "logits_scaling", "logit_scale"):
        if getattr(model.config, name, None) not in (None, 1, 1.0):
            raise RosdError(f"{model.config.model_type}: its logits have a {name}; not supported.")
    if hasattr(layer, "base_layer"):
        raise RosdError("the head has an adapter; leave it out of distill.lora.modules.")
    if type(layer) is not torch.nn.Linear:
        raise RosdError(
            f"{model.config.model_type}: its head is {type(layer).__name__}, not Linear."
        )
    return Head(layer.weight, layer.bias)


@dataclass(frozen=True)
class Targets:
    """What is known of N supervised tokens; each tensor's first dimension is N.

    The teacher is given on a support (`support_NK`, `teacher_NK`, `tail_N`), or by its hidden
    states (`hidden_NH`, with the head of the teacher), or not at all.
    """

    token_N: torch.Tensor
    behaviour_N: torch.Tensor
    weight_N: torch.Tensor
    support_NK: torch.Tensor | None = None
    teacher_NK: torch.Tensor | None = None
    tail_N: torch.Tensor | None = None
    hidden_NH: torch.Tensor | None = None

    def chunk(self, at: slice) -> "Targets":
        given = {name: value for name, value in vars(self).items() if value is not None}
        return Targets(**{name: value[at] for name, value in given.items()})


@dataclass(frozen=True)
class TokenLoss:
    """The loss of a token; the meaning of the fields is that of params.yaml: distill and score."""

    loss: str = "divergence"
    alpha: float = 0.5
    tail: str = "bucket"
    importance_clip: float = 2.0
    entry_clip: float = math.inf
    policy_clip: float = 0.2
    support: str = "student"
    top_k: int = 16

    @property
    def has_tail(self) -> bool:
        """Whether a bucket holds what lies outside of the support."""
        return self.loss == "divergence" and self.tail == "bucket"

    def staleness(
        self, ratio_N: torch.Tensor, weight_N: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The importance weight per token that the loss applies, and which tokens it clips."""
        if self.loss == "cross_entropy":
            return torch.ones_like(ratio_N), torch.zeros_like(ratio_N, dtype=torch.bool)
        if self.loss == "policy_gradient":
            up_N = (weight_N > 0) & (ratio_N > 1 + self.policy_clip)
            return ratio_N, up_N | ((weight_N < 0) & (ratio_N < 1 - self.policy_clip))
        return ratio_N.clamp(max=self.importance_clip), ratio_N > self.importance_clip

    def picked(
        self,
        token_n: torch.Tensor,
        student_nK: torch.Tensor | None,
        tail_n: torch.Tensor | None,
        known: Targets,
    ) -> torch.Tensor:
        """Loss per token, (n,), from the student's log-probabilities of the sampled token, of the
        support and of its tail.
        """
        weight_n = known.weight_N
        ratio_n = (token_n - known.behaviour_N).exp()
        if self.loss == "cross_entropy":
            return -weight_n * token_n
        if self.loss == "policy_gradient":
            near_n = ratio_n.clamp(1 - self.policy_clip, 1 + self.policy_clip)
            return -torch.minimum(ratio_n * weight_n, near_n * weight_n)
        weight_n = weight_n * importance_weight(token_n, known.behaviour_N, self.importance_clip)
        assert student_nK is not None
        assert known.teacher_NK is not None
        if self.loss == "sampled_token":
            gain_n = known.teacher_NK[:, -1] - token_n.detach()
            return -weight_n * gain_n * token_n
        if self.tail == "renormalised":
            both = renormalised(student_nK), renormalised(known.teacher_NK)
        else:
            assert tail_n is not None
            own_nC = with_tail(student_nK, tail_n.clamp(min=TAIL_FLOOR))
            both = own_nC, with_tail(known.teacher_NK, known.tail_N)
        return weight_n * jsd(*both, self.alpha, self.entry_clip)


def chunks(hidden_NH: torch.Tensor, vocabulary: int) -> Iterator[slice]:
    """Slices of N so that a chunk's logits stay near CHUNK_ENTRIES."""
    tokens = len(hidden_NH)
    size = max(CHUNK_ROWS.get(hidden_NH.device.type, 1024), CHUNK_ENTRIES // vocabulary)
    return (slice(start, start + size) for start in range(0, tokens, size))


def _exp_in_place(logits_nV: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Turn logits into exp(z - max); returns their row sums (n,) and the logsumexp (n,)."""
    most_n1 = logits_nV.amax(-1, keepdim=True)
    total_n = logits_nV.sub_(most_n1).exp_().sum(-1)
    return total_n, total_n.log() + most_n1.squeeze(1)


def _on_support(
    logits_nV: torch.Tensor, known: Targets, how: TokenLoss, teacher_nV: torch.Tensor | None
) -> Targets:
    """The targets of a chunk on the ids that the loss needs, chosen here where they are not stored.

    `sampled_token` needs the teacher at the sampled token alone.
    """
    if how.loss in ("cross_entropy", "policy_gradient") or known.support_NK is not None:
        return known
    if teacher_nV is None:
        raise RosdError("distill: the loss needs a teacher, and its targets are not there.")
    if how.loss == "sampled_token":
        support_nK = known.token_N.unsqueeze(1)
    else:
        support_nK = choose_support(logits_nV, teacher_nV, how.support, how.top_k)
    teacher_nK = teacher_nV.gather(1, support_nK) - teacher_nV.logsumexp(-1, keepdim=True)
    return Targets(
        known.token_N, known.behaviour_N, known.weight_N, support_nK, teacher_nK,
        tail_logp(teacher_nK),
    )  # fmt: skip


def chunk_loss(
    logits_nV: torch.Tensor,
    known: Targets,
    how: TokenLoss,
    teacher_nV: torch.Tensor | None,
    gradient: bool = True,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """Losses of a chunk (n,), log-probabilities of the sampled tokens (n,), and the gradient of the
    summed loss by the logits (n, V). The logits are overwritten, the teacher's too.
    """
    token_n1 = known.token_N.unsqueeze(1)
    if how.loss == "divergence" and how.support == "full" and known.support_NK is None:
        if teacher_nV is None:
            raise RosdError("distill: the loss needs a teacher, and its targets are not there.")
        student_nV = logits_nV.sub_(logits_nV.logsumexp(-1, keepdim=True))
        teacher_nV.sub_(teacher_nV.logsumexp(-1, keepdim=True))
        token_n = student_nV.gather(1, token_n1).squeeze(1)
        ratio_n = importance_weight(token_n, known.behaviour_N, how.importance_clip)
        weight_n = known.weight_N * ratio_n
        loss_n, slope_nV = jsd_gradient(student_nV, teacher_nV, how.alpha, how.entry_clip)
        return weight_n * loss_n, token_n, slope_nV.mul_(weight_n.unsqueeze(1))
    known = _on_support(logits_nV, known, how, teacher_nV)
    picked_nK = known.support_NK if how.loss in ("divergence", "sampled_token") else None
    token_z = logits_nV.gather(1, token_n1)
    picked_z = None if picked_nK is None else logits_nV.gather(1, picked_nK)
    total_n, lse_n = _exp_in_place(logits_nV)
    token_logp = token_z - lse_n.unsqueeze(1)
    picked_logp = None if picked_z is None else picked_z - lse_n.unsqueeze(1)
    tail_n1, inside_nK, outside_n1 = None, None, None
    if how.has_tail and picked_nK is not None:  # summed, as 1 - sum p has no digits left near 0
        inside_nK = logits_nV.gather(1, picked_nK)
        outside_n1 = logits_nV.scatter_(1, picked_nK, 0).sum(-1, keepdim=True)
        outside_n1.clamp_(min=torch.finfo(outside_n1.dtype).tiny)
        tail_n1 = outside_n1.log() - total_n.log().unsqueeze(1)
    leaves = [x for x in (token_logp, picked_logp, tail_n1) if x is not None]
    with torch.enable_grad():
        for leaf in leaves:
            leaf.requires_grad_(gradient)
        tail_n = None if tail_n1 is None else tail_n1.squeeze(1)
        loss_n = how.picked(token_logp.squeeze(1), picked_logp, tail_n, known)
        if not gradient:
            return loss_n, token_logp.squeeze(1), None
        found = torch.autograd.grad(loss_n.sum(), leaves, allow_unused=True)
    slopes = [
        torch.zeros_like(leaf) if s is None else s for leaf, s in zip(leaves, found, strict=True)
    ]
    share_n1 = -sum((s.sum(-1, keepdim=True) for s in slopes), 0.0) / total_n.unsqueeze(1)
    if picked_nK is None or inside_nK is None or outside_n1 is None:
        slope_nV = logits_nV.mul_(share_n1)
    else:
        slope_nV = logits_nV.mul_(share_n1 + slopes[2] / outside_n1)
        slope_nV.scatter_add_(1, picked_nK, inside_nK * share_n1)
    for ids, slope in zip((token_n1, picked_nK), slopes, strict=False):
        if ids is not None:
            slope_nV.scatter_add_(1, ids, slope)
    return loss_n.detach(), token_logp.detach().squeeze(1), slope_nV


class _HeadLoss(torch.autograd.Function):
    """Summed loss of N tokens over `scale`; the gradients are made in the forward pass."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden_NH: torch.Tensor,
        weight_VH: torch.Tensor,
        bias_V: torch.Tensor | None,
        targets: Targets,
        how: TokenLoss,
        teacher: Head | None,
        scale: float,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        kind = hidden_NH.device.type
        fast = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None
        fast = fast or weight_VH.dtype
        fast_VH, fast_NH = weight_VH.to(fast), hidden_NH.to(fast)
        own = Head(fast_VH, bias_V)
        if teacher is not None:
            teacher = Head(teacher.weight_VH.to(fast), teacher.bias_V)
        d_hidden, d_weight, d_bias = (
            torch.zeros_like(x) if x is not None and needed else None
            for x, needed in zip((hidden_NH, weight_VH, bias_V), ctx.needs_input_grad, strict=False)
        )
        losses, logps = [], []
        with torch.autocast(kind, enabled=False):
            for at in chunks(hidden_NH, len(weight_VH)):
                own_nH, known = fast_NH[at], targets.chunk(at)
                logits_nV = own.logits(own_nH)
                taught_nV = None
                if teacher is not None and known.hidden_NH is not None:
                    read_nH = known.hidden_NH.to(teacher.weight_VH)
                    taught_nV = teacher.logits(read_nH)
                gradient = any(ctx.needs_input_grad[:3])
                loss_n, logp_n, slope_nV = chunk_loss(logits_nV, known, how, taught_nV, gradient)
                losses.append(loss_n.sum())
                logps.append(logp_n)
                if slope_nV is None:
                    continue
                if d_bias is not None:
                    d_bias += slope_nV.sum(0) / scale
                slope_nV = slope_nV.to(fast)
                if d_hidden is not None:
                    d_hidden[at] = torch.mm(slope_nV, fast_VH).to(d_hidden) / scale
                if d_weight is not None:
                    if fast == d_weight.dtype:
                        d_weight.addmm_(slope_nV.t(), own_nH, alpha=1 / scale)
                    else:
                        d_weight.add_(torch.mm(slope_nV.t(), own_nH), alpha=1 / scale)
        ctx.gradients = (d_hidden, d_weight, d_bias)
        logp_N = torch.cat(logps)
        ctx.mark_non_differentiable(logp_N)
        return torch.stack(losses).sum() / scale, logp_N

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
    how: TokenLoss,
    teacher: Head | None = None,
    scale: float = 1.0,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The summed loss of N tokens divided by `scale` (differentiable), and the student's
    log-probabilities of the sampled tokens, (N,).

    Memory beside the gradients: a few buffers of one chunk's logits. Raises RosdError where the
    loss needs a teacher that is not given.
    """
    out = _HeadLoss.apply(
        hidden_NH, head.weight_VH, head.bias_V, targets, how, teacher, float(scale)
    )
    assert out is not None
    return out


@dataclass(frozen=True)
class Compared:
    """Student and teacher on the same ids of N tokens: log-probabilities of the sampled token (N,)
    and of the support (N, K), and the tails (N,).
    """

    support_NK: torch.Tensor
    student_N: torch.Tensor
    teacher_N: torch.Tensor
    student_NK: torch.Tensor
    teacher_NK: torch.Tensor
    divergence_N: torch.Tensor


@torch.no_grad()
def compare(
    student_NH: torch.Tensor,
    student: Head,
    teacher_NH: torch.Tensor,
    teacher: Head,
    token_N: torch.Tensor,
    support: str,
    top_k: int,
) -> Compared:
    """Both distributions on the support that is chosen as `choose_support` says, and their JSD
    (alpha 1/2) on it and the tail.
    """
    made = []
    for at in chunks(student_NH, len(student.weight_VH)):
        both = student.logits(student_NH[at]), teacher.logits(teacher_NH[at])
        ids_nK, token_n1 = choose_support(*both, support, top_k), token_N[at].unsqueeze(1)
        lse = [logits_nV.logsumexp(-1, keepdim=True) for logits_nV in both]
        pairs = list(zip(both, lse, strict=True))
        token = [(logits_nV.gather(1, token_n1) - total).squeeze(1) for logits_nV, total in pairs]
        picked = [logits_nV.gather(1, ids_nK) - total for logits_nV, total in pairs]
        gap_n = jsd(with_tail(picked[0]), with_tail(picked[1]), 0.5)
        made.append((ids_nK, *token, *picked, gap_n))
    return Compared(*(torch.cat(parts) for parts in zip(*made, strict=True)))
