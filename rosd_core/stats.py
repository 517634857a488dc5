"""mean@k per domain with a confidence interval, from graded samples."""

import numpy as np
import polars as pl


def mean_at_k(samples: pl.DataFrame, confidence: float, resamples: int, seed: int) -> pl.DataFrame:
    """Accuracy per iteration and domain: columns iteration, domain, mean, low, high, problems,
    samples.

    mean@k = mean over problems of the mean over k samples. The interval is the percentile bootstrap
    over *problems*: samples of one problem are not independent (Efron and Tibshirani 1993, chapter
    13).
    """
    problems = samples.group_by("iteration", "domain", "problem_id", maintain_order=True).agg(
        pl.col("success").mean().alias("accuracy"), pl.len().alias("k")
    )
    rows = []
    for (iteration, domain), group in problems.group_by("iteration", "domain", maintain_order=True):
        accuracy_P = group["accuracy"].to_numpy()
        draws = np.random.default_rng(seed).integers(
            0, len(accuracy_P), (resamples, len(accuracy_P))
        )
        low, high = np.quantile(
            accuracy_P[draws].mean(1), [(1 - confidence) / 2, (1 + confidence) / 2]
        )
        rows.append(
            {
                "iteration": iteration,
                "domain": domain,
                "mean": float(accuracy_P.mean()),
                "low": float(low),
                "high": float(high),
                "problems": len(group),
                "samples": int(group["k"].sum()),
            }
        )
    return pl.DataFrame(rows)
