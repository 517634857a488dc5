"""Student and teacher on the same ids of the same tokens.

Dimension names: N supervised token, n token of a chunk, K support, M shown id, H hidden,
V vocabulary.
"""

from dataclasses import dataclass

import torch

from rosd_core.losses.divergence import jsd
from rosd_core.losses.head import Head, chunks
from rosd_core.losses.support import choose_support, with_tail


@dataclass(frozen=True)
class Comparison:
    """Log-probabilities of the sampled token (N,), the teacher's of the support (N, K), the
    divergence on the support and its tail (N,), and the student's entropy over the whole
    vocabulary (N,), all in nats; and the M likeliest ids of each, likeliest first, with their
    log-probabilities (N, M).
    """

    support_NK: torch.Tensor
    student_N: torch.Tensor
    teacher_N: torch.Tensor
    teacher_NK: torch.Tensor
    divergence_N: torch.Tensor
    entropy_N: torch.Tensor
    student_top_NM: torch.Tensor
    student_top_logp_NM: torch.Tensor
    teacher_top_NM: torch.Tensor
    teacher_top_logp_NM: torch.Tensor


def entropy(logits_nV: torch.Tensor) -> torch.Tensor:
    """-sum_v p_v log p_v of p = softmax(logits), (n,), in nats: 0 where one id has all of the
    probability, log V where all ids have the same. Ids with a logit of -inf add nothing.
    """
    return torch.special.entr(logits_nV.softmax(-1)).sum(-1)


def likeliest(
    logits_nV: torch.Tensor, lse_n1: torch.Tensor, count: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """The `count` likeliest ids (at most V), likeliest first, and their log-probabilities, (n, M)
    each.
    """
    top = logits_nV.topk(min(count, logits_nV.shape[1]), dim=-1)
    return top.indices, top.values - lse_n1


@torch.no_grad()
def compare(
    student_NH: torch.Tensor,
    student: Head,
    teacher_NH: torch.Tensor,
    teacher: Head,
    token_N: torch.Tensor,
    support: str,
    top_k: int,
    show_top: int,
) -> Comparison:
    """Both distributions on the support of `choose_support`, their JSD (alpha 1/2) there, the
    student's entropy, and the M = `show_top` likeliest ids of each; (n, V) for a chunk of tokens at
    a time.
    """
    parts = []
    for at in chunks(student_NH, len(student.matrix_VH)):
        both = student.logits(student_NH[at]), teacher.logits(teacher_NH[at])
        ids_nK, token_n1 = choose_support(*both, support, top_k), token_N[at].unsqueeze(1)
        pairs = [(logits_nV, logits_nV.logsumexp(-1, keepdim=True)) for logits_nV in both]
        token = [(logits_nV.gather(1, token_n1) - lse_n1).squeeze(1) for logits_nV, lse_n1 in pairs]
        picked = [logits_nV.gather(1, ids_nK) - lse_n1 for logits_nV, lse_n1 in pairs]
        divergence_n = jsd(with_tail(picked[0]), with_tail(picked[1]), 0.5)
        top = [likeliest(logits_nV, lse_n1, show_top) for logits_nV, lse_n1 in pairs]
        parts.append((ids_nK, *token, picked[1], divergence_n, entropy(both[0]), *top[0], *top[1]))
    return Comparison(*(torch.cat(columns) for columns in zip(*parts, strict=True)))
