"""Inverse-CDF sampling: a token from logits and a number that depends on the row's seed and step.

Dimension names: B row, V vocabulary.
"""

import numpy as np
import torch


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


def sampling_logp(logits_BV: torch.Tensor, temperature: float, top_p: float) -> torch.Tensor:
    """Log-probabilities of the distribution that is sampled from, (B, V): temperature, then
    nucleus, renormalised.

    The nucleus is the smallest set of most likely ids whose probability reaches top_p (Holtzman et
    al. 2020).
    """
    logp_BV = torch.log_softmax(logits_BV.float() / temperature, dim=-1)
    if top_p >= 1.0:
        return logp_BV
    sorted_BV, order_BV = logp_BV.sort(dim=-1, descending=True, stable=True)
    before_BV = sorted_BV.exp().cumsum(-1) - sorted_BV.exp()
    outside_BV = torch.zeros_like(before_BV, dtype=torch.bool).scatter(
        1, order_BV, before_BV >= top_p
    )
    return torch.log_softmax(logp_BV.masked_fill(outside_BV, -torch.inf), dim=-1)


def draw(logp_BV: torch.Tensor, uniforms_B: torch.Tensor) -> torch.Tensor:
    """Inverse-CDF sampling: the first id whose cumulative probability exceeds the row's uniform
    number, (B,).
    """
    cumulative_BV = logp_BV.double().exp().cumsum(-1)
    scaled_B1 = (uniforms_B.to(cumulative_BV) * cumulative_BV[:, -1]).unsqueeze(1)
    return (
        torch.searchsorted(cumulative_BV, scaled_B1, right=True)
        .squeeze(1)
        .clamp(max=logp_BV.shape[1] - 1)
    )
