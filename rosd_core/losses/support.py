"""The ids that two distributions are compared on, and one bucket for all others.

Dimension names: N supervised token, K support, V vocabulary, C = K + 1 buckets (support and tail).
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


def choose_support(
    student_NV: torch.Tensor, teacher_NV: torch.Tensor | None, source: str, top_k: int
) -> torch.Tensor:
    """Ids to compare on, from logits or log-probabilities: the top K of the student or of the
    teacher, (N, K), or `union`: the student's, then the teacher's best of the others, (N, 2K).
    """
    top_k = min(top_k, student_NV.shape[1])
    if source == "student":
        return student_NV.topk(top_k, dim=-1).indices
    assert teacher_NV is not None
    if source == "teacher":
        return teacher_NV.topk(top_k, dim=-1).indices
    first_NK = student_NV.topk(top_k, dim=-1).indices
    others_NV = teacher_NV.scatter(1, first_NK, -torch.inf)
    more = min(top_k, student_NV.shape[1] - top_k)
    return torch.cat([first_NK, others_NV.topk(more, dim=-1).indices], -1)
