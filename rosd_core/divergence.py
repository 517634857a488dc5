"""Divergences between student and teacher next-token distributions, on a support of K ids and one
tail bucket.

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


def gather_support(logp_NV: torch.Tensor, support_NK: torch.Tensor) -> torch.Tensor:
    """True log-probabilities of the support ids, (N, K): picked, not renormalised."""
    return logp_NV.gather(-1, support_NK)


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


def kl(p_NC: torch.Tensor, q_NC: torch.Tensor) -> torch.Tensor:
    """KL(P || Q) = sum p (log p - log q) in nats, (N,), from log-probabilities; p = 0 contributes
    0.
    """
    p = p_NC.exp()
    return torch.where(p > 0, p * (p_NC - q_NC), 0.0).sum(-1)


def jsd(student_NC: torch.Tensor, teacher_NC: torch.Tensor, alpha: float) -> torch.Tensor:
    """Generalised Jensen-Shannon divergence per token in nats, (N,), from log-probabilities over
    the same buckets.

    0 <= JSD <= log 2 at alpha = 1/2. Raises ValueError for alpha outside [0, 1].
    """
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha is {alpha}; it must lie in [0, 1]")
    if alpha == 0:
        return kl(teacher_NC, student_NC)
    if alpha == 1:
        return kl(student_NC, teacher_NC)
    mix_NC = torch.logaddexp(student_NC + math.log1p(-alpha), teacher_NC + math.log(alpha))
    return (1 - alpha) * kl(student_NC, mix_NC) + alpha * kl(teacher_NC, mix_NC)


def importance_weight(
    student_N: torch.Tensor, behaviour_N: torch.Tensor, clip: float
) -> torch.Tensor:
    """min(exp(log pi_now - log pi_behaviour), clip) per token, (N,), without gradient.

    It corrects for the drift of the student within an iteration: the first optimizer step has
    weight 1.
    """
    return (student_N.detach() - behaviour_N).exp().clamp(max=clip)
