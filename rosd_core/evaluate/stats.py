"""mean@k, pass@k and maj@k per domain from graded samples."""

import math
from collections.abc import Sequence

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


def pass_at(n: int, right: int, k: int) -> float:
    """Unbiased chance that one of k samples is right, given that `right` of n were:
    1 - C(n - right, k) / C(n, k).

    Source: Chen et al. 2021, https://arxiv.org/abs/2107.03374, equation 1.
    """
    return 1 - math.comb(n - right, k) / math.comb(n, k)


def majority(answers: Sequence[str | None], rewards: Sequence[float]) -> float:
    """Expected success of the most frequent answer; answers equally frequent share the vote.

    Samples without an answer do not vote; no vote at all is wrong. Answers are counted as the
    grader parsed them, each with the mean success of its samples.
    """
    votes: dict[str, list[float]] = {}
    for answer, reward in zip(answers, rewards, strict=True):
        if answer is not None:
            votes.setdefault(answer, []).append(reward)
    most = max(map(len, votes.values()), default=0)
    winners = [sum(v) / len(v) for v in votes.values() if len(v) == most]
    return sum(winners) / len(winners) if winners else 0.0


def sample_metrics(samples: pl.DataFrame) -> dict[str, dict[str, float]]:
    """Per domain: pass@1, 2, 4, .. up to the number of samples, maj@k, mean response length in
    tokens, share of responses cut off, share without a readable answer.
    """
    told = {}
    for (domain,), group in samples.group_by("domain", maintain_order=True):
        problems = group.group_by("problem_id", maintain_order=True).agg(
            "parsed_answer", "success", pl.len().alias("n"), pl.col("success").sum().alias("right")
        )
        n = int(problems["n"].min())  # pyright: ignore[reportArgumentType] (a group has rows)
        entry = {}
        for k in [2**j for j in range(n.bit_length())]:
            shares = [pass_at(row["n"], row["right"], k) for row in problems.iter_rows(named=True)]
            entry[f"pass@{k}"] = sum(shares) / len(shares)
        votes = [
            majority(row["parsed_answer"], [float(s) for s in row["success"]])
            for row in problems.iter_rows(named=True)
        ]
        entry[f"maj@{n}"] = sum(votes) / len(votes)
        entry["response_tokens"] = float(group["response_tokens"].mean())  # pyright: ignore[reportArgumentType]
        entry["cut_off_share"] = float((group["finish_reason"] == "length").sum()) / len(group)
        entry["unreadable_share"] = group["parsed_answer"].null_count() / len(group)
        told[str(domain)] = entry
    return told
