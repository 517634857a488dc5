"""Divergences between student and teacher next-token distributions: over the whole vocabulary, or
on a support of K ids and one tail bucket.

Dimension names: N supervised token, K support, V vocabulary, C = K + 1 buckets (support and tail).

    M = (1 - alpha) S + alpha T
    JSD_alpha(S, T) = (1 - alpha) KL(S || M) + alpha KL(T || M)        0 < alpha < 1
    alpha = 0 *means* KL(T || S) (forward), alpha = 1 *means* KL(S || T) (reverse)

The two ends are definitions, not limits: the formula itself tends to 0 there, at alpha = 0.001 it
is about a thousand times smaller than at alpha = 0. Source: arXiv 2306.13649 (GKD, equation 1),
arXiv 2605.28014 (ROSD).
"""

import math

import torch

TAIL_CLAMP = -1e-7
TAIL_FLOOR = math.log(-math.expm1(TAIL_CLAMP))  # the least tail that the clamp leaves


def tail_logp(support_logp_NK: torch.Tensor) -> torch.Tensor:
    """log(1 - sum_k p_k), (N,): the probability outside of the support.

    The log of the sum is clamped at -1e-7, so that a support holding everything leaves a finite
    tail. Without the tail a top-k forward KL can go negative.
    """
    inside_N = support_logp_NK.logsumexp(-1).clamp(max=TAIL_CLAMP)
    return torch.log(-torch.expm1(inside_N))


def with_tail(support_logp_NK: torch.Tensor, tail_N: torch.Tensor | None = None) -> torch.Tensor:
    """Log-probabilities of the C = K + 1 buckets, (N, C); the tail is computed where it is not
    given.
    """
    tail_N = tail_logp(support_logp_NK) if tail_N is None else tail_N
    return torch.cat([support_logp_NK, tail_N.unsqueeze(-1)], dim=-1)


def renormalised(support_logp_NK: torch.Tensor) -> torch.Tensor:
    """Log-probabilities given that the support happens, (N, K): in place of a tail bucket.

    Not recommended: the loss no longer sees probability that leaves the support, and the reverse
    direction is unstable (verl pull request 5041).
    """
    return torch.log_softmax(support_logp_NK, -1)


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
    entry_clip: float = math.inf,
) -> torch.Tensor:
    """Generalised Jensen-Shannon divergence per token in nats, (N,), from log-probabilities over
    the same buckets.

    0 <= JSD <= log 2 at alpha = 1/2. An entry adds at most `entry_clip` (OPSD's pointwise clip,
    arXiv 2601.18734), beyond which it has no gradient.
    """
    entries_NC = jsd_entries(student_NC, teacher_NC, alpha)
    return (entries_NC if entry_clip == math.inf else entries_NC.clamp(max=entry_clip)).sum(-1)


def jsd_gradient(
    student_NV: torch.Tensor,
    teacher_NV: torch.Tensor,
    alpha: float,
    entry_clip: float = math.inf,
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
    if entry_clip != math.inf:
        slope_NV.masked_fill_(entries_NV >= entry_clip, 0)
        entries_NV.clamp_(max=entry_clip)
    loss_N = entries_NV.sum(-1)
    return loss_N, slope_NV.addcmul_(p_NV, slope_NV.sum(-1, keepdim=True), value=-1)


def choose_support(
    student_NV: torch.Tensor, teacher_NV: torch.Tensor | None, kind: str, top_k: int
) -> torch.Tensor:
    """Ids to compare on, from logits or log-probabilities: the top K of the student or of the
    teacher, (N, K), or `union`: the student's, then the teacher's best of the others, (N, 2K).
    """
    top_k = min(top_k, student_NV.shape[1])
    if kind == "student":
        return student_NV.topk(top_k, dim=-1).indices
    assert teacher_NV is not None
    if kind == "teacher":
        return teacher_NV.topk(top_k, dim=-1).indices
    first_NK = student_NV.topk(top_k, dim=-1).indices
    others_NV = teacher_NV.scatter(1, first_NK, -torch.inf)
    more = min(top_k, student_NV.shape[1] - top_k)
    return torch.cat([first_NK, others_NV.topk(more, dim=-1).indices], -1)


def importance_weight(
    student_N: torch.Tensor, behaviour_N: torch.Tensor, clip: float
) -> torch.Tensor:
    """min(exp(log pi_now - log pi_behaviour), clip) per token, (N,), without gradient.

    It corrects for the drift of the student within an iteration: the first optimizer step has
    weight 1.
    """
    return (student_N.detach() - behaviour_N).exp().clamp(max=clip)
