"""mean@k, pass@k and maj@k per domain from graded samples."""

import math
from collections.abc import Sequence

import polars as pl

from rosd_core.resampling import bootstrap_interval

# of the table evaluation, as far as this module reads it: not the responses
COLUMNS = [
    "iteration", "problem_id", "domain", "shortened", "parsed_answer", "success",
    "response_tokens", "finish_reason",
]  # fmt: skip


def mean_at_k(samples: pl.DataFrame, confidence: float, resamples: int, seed: int) -> pl.DataFrame:
    """Accuracy per iteration and domain: columns iteration, domain, mean, low, high, problems,
    samples.

    mean@k = mean over problems of the mean over k samples. The interval is over *problems*: samples
    of one problem are not independent.
    """
    problems = samples.group_by("iteration", "domain", "problem_id", maintain_order=True).agg(
        pl.col("success").mean().alias("accuracy"), pl.len().alias("k")
    )
    rows = []
    for (iteration, domain), group in problems.group_by("iteration", "domain", maintain_order=True):
        mean, low, high = bootstrap_interval(
            group["accuracy"].to_numpy(), confidence, resamples, seed
        )
        rows.append(
            {
                "iteration": iteration,
                "domain": domain,
                "mean": mean,
                "low": low,
                "high": high,
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
    tokens, share of responses cut off, share without a readable answer, shortened prompts.
    """
    return {
        str(domain): _domain_metrics(group)
        for (domain,), group in samples.group_by("domain", maintain_order=True)
    }


def _domain_metrics(samples: pl.DataFrame) -> dict[str, float]:
    problems = samples.group_by("problem_id", maintain_order=True).agg(
        "parsed_answer", "success", pl.len().alias("n"), pl.col("success").sum().alias("right")
    )
    rows = problems.to_dicts()
    n = min(row["n"] for row in rows)
    metrics = {}
    for k in [2**j for j in range(n.bit_length())]:
        shares = [pass_at(row["n"], row["right"], k) for row in rows]
        metrics[f"pass@{k}"] = sum(shares) / len(shares)
    votes = [majority(row["parsed_answer"], [float(s) for s in row["success"]]) for row in rows]
    metrics[f"maj@{n}"] = sum(votes) / len(votes)
    metrics["response_tokens"] = sum(samples["response_tokens"].to_list()) / len(samples)
    metrics["cut_off_share"] = float((samples["finish_reason"] == "length").sum()) / len(samples)
    cut = samples.filter(pl.col("shortened").is_not_null())
    metrics["shortened"] = cut["problem_id"].n_unique()
    metrics["unreadable_share"] = samples["parsed_answer"].null_count() / len(samples)
    return metrics
