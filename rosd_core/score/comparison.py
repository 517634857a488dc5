"""Student and teacher on the same ids of the same tokens.

Dimension names: N supervised token, n token of a chunk, K support, H hidden, V vocabulary.
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
    vocabulary (N,), all in nats.
    """

    support_NK: torch.Tensor
    student_N: torch.Tensor
    teacher_N: torch.Tensor
    teacher_NK: torch.Tensor
    divergence_N: torch.Tensor
    entropy_N: torch.Tensor


def entropy(logits_nV: torch.Tensor) -> torch.Tensor:
    """-sum_v p_v log p_v of p = softmax(logits), (n,), in nats: 0 where one id has all of the
    probability, log V where all ids have the same. Ids with a logit of -inf add nothing.
    """
    return torch.special.entr(logits_nV.softmax(-1)).sum(-1)


@torch.no_grad()
def compare(
    student_NH: torch.Tensor,
    student: Head,
    teacher_NH: torch.Tensor,
    teacher: Head,
    token_N: torch.Tensor,
    support: str,
    top_k: int,
) -> Comparison:
    """Both distributions on the support of `choose_support`, their JSD (alpha 1/2) there, and the
    student's entropy; (n, V) for a chunk of tokens at a time.
    """
    parts = []
    for at in chunks(student_NH, len(student.matrix_VH)):
        both = student.logits(student_NH[at]), teacher.logits(teacher_NH[at])
        ids_nK, token_n1 = choose_support(*both, support, top_k), token_N[at].unsqueeze(1)
        pairs = [(logits_nV, logits_nV.logsumexp(-1, keepdim=True)) for logits_nV in both]
        token = [(logits_nV.gather(1, token_n1) - lse_n1).squeeze(1) for logits_nV, lse_n1 in pairs]
        picked = [logits_nV.gather(1, ids_nK) - lse_n1 for logits_nV, lse_n1 in pairs]
        divergence_n = jsd(with_tail(picked[0]), with_tail(picked[1]), 0.5)
        parts.append((ids_nK, *token, picked[1], divergence_n, entropy(both[0])))
    return Comparison(*(torch.cat(columns) for columns in zip(*parts, strict=True)))
