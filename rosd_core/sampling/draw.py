"""Inverse-CDF sampling: a token from logits and a number that depends on the row's seed and step.

What is drawn for a row depends on that row alone. Weights are probabilities up to a factor.

Dimension names: B row, V vocabulary, N block of ids, K candidate id.
"""

import numpy as np
import torch

BLOCK = 256  # ids that are summed in fp32; the blocks are summed in fp64
CANDIDATES = (128, 2048)  # most likely ids in which a nucleus is sought before all ids are sorted
BELOW_ONE = 1 - 2.0**-53


def uniform(seeds: np.ndarray, step: int) -> np.ndarray:
    """One number in [0, 1) per row, a function of (seed, step): SplitMix64 of seed + (step + 1) x
    golden gamma.

    Shape: seeds (B,) uint64 -> (B,) float64. Source: Steele, Lea, Flood 2014,
    https://doi.org/10.1145/2660193.2660195
    """
    with np.errstate(over="ignore"):
        z = seeds + np.uint64(step + 1) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(11)).astype(np.float64) * 2.0**-53


def greedy(logits_BV: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The most likely id of each row and its log-probability at temperature 1, (B,) each."""
    highest_B, token_B = logits_BV.float().max(-1)
    return token_B, highest_B - logits_BV.float().logsumexp(-1)


def token_logp(logits_BV: torch.Tensor, token_B: torch.Tensor) -> torch.Tensor:
    """Log-probability of one id per row at temperature 1, over all ids, (B,)."""
    logits_BV = logits_BV.float()
    return logits_BV.gather(1, token_B.unsqueeze(1)).squeeze(1) - logits_BV.logsumexp(-1)


def nucleus_logp(
    logits_NV: torch.Tensor, token_N: torch.Tensor, temperature: float, top_p: float
) -> torch.Tensor:
    """Log-probability of one id per row after temperature and top_p, (N,):

        log softmax(z / temperature)[y] - log(weight of the nucleus)

    An id outside the nucleus gets this number too: two engines may disagree about its border.
    """
    logp_NV = (logits_NV.float() / temperature).log_softmax(-1)
    logp_N = logp_NV.gather(1, token_N.unsqueeze(1)).squeeze(1)
    if top_p >= 1:
        return logp_N
    sorted_NV = logp_NV.double().exp().sort(-1, descending=True).values
    ends_NV = sorted_NV.cumsum(-1)
    last_N1 = (ends_NV < top_p).sum(-1, keepdim=True).clamp(max=sorted_NV.shape[1] - 1)
    return logp_N - ends_NV.gather(1, last_N1).squeeze(1).log().to(logp_N)


def sample(
    logits_BV: torch.Tensor, uniforms_B: torch.Tensor, temperature: float, top_p: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """A token of each row and its log-probability under the distribution that it is drawn from:
    temperature, then nucleus, renormalised; (B,) each.
    """
    logits_BV = logits_BV.float()
    highest_B1 = logits_BV.amax(-1, keepdim=True)
    weight_BV = (logits_BV - highest_B1).div_(temperature).exp_()
    uniforms_B = uniforms_B.to(logits_BV.device)
    if top_p < 1:
        total_B = _block_sums(weight_BV).sum(-1)
        token_B, total_B = _draw_nucleus(logits_BV, weight_BV, top_p * total_B, uniforms_B)
    else:
        token_B, total_B = draw(weight_BV, uniforms_B)
    scaled_B1 = (logits_BV.gather(1, token_B.unsqueeze(1)) - highest_B1).double() / temperature
    return token_B, scaled_B1.squeeze(1) - total_B.log()


def _block_sums(weight_BV: torch.Tensor) -> torch.Tensor:
    """The sums of BLOCK ids each, (B, N) in fp64."""
    return _blocks(weight_BV).sum(-1).double()


def _blocks(weight_BV: torch.Tensor) -> torch.Tensor:
    missing = -weight_BV.shape[1] % BLOCK
    padded_BV = torch.nn.functional.pad(weight_BV, (0, missing)) if missing else weight_BV
    return padded_BV.view(len(weight_BV), -1, BLOCK)


def draw(weight_BV: torch.Tensor, uniforms_B: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Inverse-CDF sampling in the order of ids: the first id whose cumulative weight exceeds the
    row's uniform number times the total, and the total, (B,) each.

    First the block is found and then the id within it, so that only B x (N + BLOCK) numbers are
    cumulated in fp64 where summing all of them in fp32 would not be accurate enough.
    """
    sums_BN = _block_sums(weight_BV)
    ends_BN = sums_BN.cumsum(-1)
    target_B1 = uniforms_B.unsqueeze(1) * ends_BN[:, -1:]
    block_B1 = _first_above(ends_BN, target_B1)
    sum_B1 = sums_BN.gather(1, block_B1)
    before_B1 = torch.where(block_B1 > 0, ends_BN.gather(1, (block_B1 - 1).clamp(min=0)), 0.0)
    share_B1 = ((target_B1 - before_B1) / sum_B1).clamp(0, BELOW_ONE)
    rows_B = torch.arange(len(weight_BV), device=weight_BV.device)
    inner_BK = _blocks(weight_BV)[rows_B, block_B1.squeeze(1)].double().cumsum(-1)
    at_B1 = _first_above(inner_BK, share_B1 * inner_BK[:, -1:])
    return (block_B1 * BLOCK + at_B1).squeeze(1), ends_BN[:, -1]


def _first_above(cumulative_BK: torch.Tensor, target_B1: torch.Tensor) -> torch.Tensor:
    """The first index whose cumulative weight exceeds the target, (B, 1); that weight is not 0."""
    return torch.searchsorted(cumulative_BK, target_B1, right=True)


def _draw_nucleus(
    logits_BV: torch.Tensor,
    weight_BV: torch.Tensor,
    enough_B: torch.Tensor,
    uniforms_B: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """A token of the nucleus and the nucleus' weight, (B,) each: sought among the most likely ids
    first, among all for the rows where these may not hold it.
    """
    token_B, total_B = torch.empty_like(enough_B, dtype=torch.long), torch.empty_like(enough_B)
    left_b = torch.arange(len(logits_BV), device=logits_BV.device)
    size = logits_BV.shape[1]
    for most in (*(k for k in CANDIDATES if k < size), size):
        ids_bK, kept_bK, whole_b = nucleus(
            logits_BV[left_b], weight_BV[left_b], enough_B[left_b], most
        )
        ends_bK = kept_bK.cumsum(-1)
        at_b1 = _first_above(ends_bK, uniforms_B[left_b].unsqueeze(1) * ends_bK[:, -1:])
        at_b1 = at_b1.clamp(max=ends_bK.shape[1] - 1)  # of rows that are not whole
        found_b = left_b[whole_b]
        token_B[found_b] = ids_bK.gather(1, at_b1).squeeze(1)[whole_b]
        total_B[found_b] = ends_bK[whole_b, -1]
        left_b = left_b[~whole_b]
        if not len(left_b):
            break
    return token_B, total_B


def nucleus(
    logits_BV: torch.Tensor, weight_BV: torch.Tensor, enough_B: torch.Tensor, most: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The smallest set of most likely ids whose weight reaches `enough_B`, sought among the `most`
    most likely ones; of equally likely ids at its border the lowest are in it.

    Returns candidate ids in ascending order (B, K), their weights in fp64 with 0 outside the
    nucleus (B, K), and in which rows this is the nucleus of all ids (B,): not where the candidates
    do not reach `enough_B`, or where ids as likely as the border may be missing among them.
    Source: Holtzman et al. 2020, https://arxiv.org/abs/1904.09751
    """
    top_BK, ids_BK = logits_BV.topk(most, dim=-1)
    ends_BK = weight_BV.gather(1, ids_BK).double().cumsum(-1)
    # an id is in the nucleus if those before it do not reach `enough`
    size_B1 = 1 + (ends_BK[:, :-1] < enough_B.unsqueeze(1)).sum(-1, keepdim=True)
    border_B1 = top_BK.gather(1, size_B1 - 1)
    whole_B = (ends_BK[:, -1] >= enough_B) & (top_BK[:, -1:] < border_B1).squeeze(1)
    if most == logits_BV.shape[1]:
        whole_B = torch.ones_like(whole_B)
    widest = int((top_BK >= border_B1).sum(-1).max())
    ids_BK = ids_BK[:, :widest].sort(dim=-1).values
    value_BK, kept_BK = logits_BV.gather(1, ids_BK), weight_BV.gather(1, ids_BK).double()
    above_BK, tie_BK = value_BK > border_B1, value_BK == border_B1
    ties_B1 = size_B1 - above_BK.sum(-1, keepdim=True)
    inside_BK = above_BK | (tie_BK & (tie_BK.cumsum(-1) <= ties_B1))
    return ids_BK, kept_BK.masked_fill(~inside_BK, 0.0), whole_B
