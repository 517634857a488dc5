"""The percentile bootstrap over problems. Source: Efron and Tibshirani 1993, chapter 13.

Rollouts of one problem are not independent, so problems are resampled, with all that belongs to
them. With few problems an interval is rough: the bootstrap knows no value beyond those seen.

Dimension names: P problem, C column, R resample.
"""

from collections.abc import Sequence

import numpy as np


def resampled_means(columns_PC: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """Column means over problems drawn with replacement, (R, C)."""
    count = len(columns_PC)
    draws_RP = np.random.default_rng(seed).integers(0, count, (resamples, count))
    return columns_PC[draws_RP].mean(1)


def percentile_interval(values_R: np.ndarray, confidence: float) -> tuple[float, float]:
    low, high = np.quantile(values_R, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def bootstrap_interval(
    values: Sequence[float] | np.ndarray, confidence: float, resamples: int, seed: int
) -> tuple[float, float, float]:
    """(mean, low, high): the mean of one value per problem (or seed) and its interval."""
    values_P1 = np.asarray(values, dtype=float).reshape(-1, 1)
    means_R1 = resampled_means(values_P1, resamples, seed)
    return float(values_P1.mean()), *percentile_interval(means_R1, confidence)
