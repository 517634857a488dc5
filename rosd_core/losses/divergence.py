"""Divergences between student and teacher next-token distributions: over the whole vocabulary, or
over the buckets of a support.

Dimension names: N supervised token, V vocabulary, C bucket (a support's K ids and their tail).

    M = (1 - alpha) S + alpha T
    JSD_alpha(S, T) = (1 - alpha) KL(S || M) + alpha KL(T || M)        0 < alpha < 1
    alpha = 0 *means* KL(T || S) (forward), alpha = 1 *means* KL(S || T) (reverse)

The two ends are definitions, not limits: the formula itself tends to 0 there. At alpha = 0.001 it
is about a thousand times smaller than at alpha = 0. Source: arXiv 2306.13649 (GKD, equation 1),
arXiv 2605.28014 (ROSD).
"""

import math

import torch


def kl_entries(p_NC: torch.Tensor, q_NC: torch.Tensor) -> torch.Tensor:
    """p (log p - log q) per entry in nats, (N, C), from log-probabilities; 0 where p = 0."""
    p = p_NC.exp()
    return torch.where(p > 0, p * (p_NC - q_NC), 0.0)


def kl(p_NC: torch.Tensor, q_NC: torch.Tensor) -> torch.Tensor:
    """KL(P || Q) = sum p (log p - log q) in nats, (N,), from log-probabilities."""
    return kl_entries(p_NC, q_NC).sum(-1)


def jsd_entries(student_NC: torch.Tensor, teacher_NC: torch.Tensor, alpha: float) -> torch.Tensor:
    """What each entry adds to JSD_alpha, (N, C), in nats; entries may be negative, their sum not.

    Raises ValueError for alpha outside [0, 1].
    """
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha is {alpha}; it must lie in [0, 1]")
    if alpha == 0:
        return kl_entries(teacher_NC, student_NC)
    if alpha == 1:
        return kl_entries(student_NC, teacher_NC)
    mix_NC = torch.logaddexp(student_NC + math.log1p(-alpha), teacher_NC + math.log(alpha))
    of_student = (1 - alpha) * kl_entries(student_NC, mix_NC)
    return of_student + alpha * kl_entries(teacher_NC, mix_NC)


def jsd(
    student_NC: torch.Tensor,
    teacher_NC: torch.Tensor,
    alpha: float,
    entry_clip: float | None = None,
) -> torch.Tensor:
    """Generalised Jensen-Shannon divergence per token in nats, (N,), from log-probabilities over
    the same buckets.

    0 <= JSD <= log 2 at alpha = 1/2. An entry adds at most `entry_clip` (OPSD's pointwise clip,
    arXiv 2601.18734), beyond which it has no gradient.
    """
    return clipped_sum(jsd_entries(student_NC, teacher_NC, alpha), entry_clip)


def clipped_sum(entries_NC: torch.Tensor, entry_clip: float | None) -> torch.Tensor:
    """The sum of the entries, each at most `entry_clip` (None: no clip), (N,)."""
    return (entries_NC if entry_clip is None else entries_NC.clamp(max=entry_clip)).sum(-1)


def jsd_gradient(
    student_NV: torch.Tensor,
    teacher_NV: torch.Tensor,
    alpha: float,
    entry_clip: float | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """JSD_alpha over the whole vocabulary, (N,), and its gradient by the student's *logits*,
    (N, V).

    With e_v the entry of id v and g_v = p_v de_v/dp_v (0 where the entry is clipped), the gradient
    is g_v - p_v sum_u g_u, because p is a softmax. de_v/dp_v is

        (1 - alpha) log(p_v / m_v)   0 < alpha < 1
        -q_v / p_v                   alpha = 0
        log(p_v / q_v) + 1           alpha = 1

    Written into few buffers of (N, V); both arguments are overwritten.
    """
    s_NV, t_NV = student_NV, teacher_NV
    p_NV, q_NV = s_NV.exp(), t_NV.exp()
    tiny = torch.finfo(s_NV.dtype).tiny
    if alpha == 0:
        entries_NV = t_NV.sub_(s_NV).mul_(q_NV)
        slope_NV = q_NV.neg_()
    elif alpha == 1:
        gap_NV = s_NV.sub_(t_NV)
        entries_NV = torch.mul(gap_NV, p_NV, out=t_NV)
        slope_NV = gap_NV.add_(1).mul_(p_NV)
    else:
        mix_NV = (q_NV * alpha).add_(p_NV, alpha=1 - alpha).clamp_(min=tiny).log_()
        slope_NV = s_NV.sub_(mix_NV).mul_(p_NV).mul_(1 - alpha)
        entries_NV = t_NV.sub_(mix_NV).mul_(q_NV).mul_(alpha).add_(slope_NV)
    if entry_clip is not None:
        slope_NV.masked_fill_(entries_NV >= entry_clip, 0)
        entries_NV.clamp_(max=entry_clip)
    loss_N = entries_NV.sum(-1)
    return loss_N, slope_NV.addcmul_(p_NV, slope_NV.sum(-1, keepdim=True), value=-1)
