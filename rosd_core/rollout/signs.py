"""Signs of a collapse in the samples of an iteration: long, repetitive, cut off or random responses
that are wrong more often than before.

Dimension names: P problem.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl

GRAM = 4
# odd 64-bit factors, one per place in a gram: a sum of ids times these tells grams apart
_FACTORS = (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB, 0xD6E8FEB86659FD93)

# metrics of earlier iterations that `compared` reads
COMPARED = {"response_tokens", "surprise", "success_share", "cut_off_share", "problems"}

Values = dict[str, float | None]


def sample_signs(rollouts: Path) -> dict[str, float]:
    """Of the table `rollouts`:

        response_tokens   mean length of a response, in tokens
        surprise          mean of -log S(y) over all sampled tokens, in nats at temperature 1: an
                          estimate of the student's entropy (exact on average where rollout.
                          temperature and top_p are 1)
        repetition        mean over responses of 1 - distinct / all grams of 4 tokens; 0 for a
                          response of fewer tokens. Source: Welleck et al. 2020, seq-rep-4,
                          https://arxiv.org/abs/1908.04319

    Memory holds a few numbers per row; sums run in the order of the table.
    """
    logp = pl.col("student_logp").cast(pl.List(pl.Float64))
    columns = [pl.col("response_ids").list.len().alias("tokens"), logp.list.sum().alias("logp")]
    columns.append(repetition(pl.col("response_ids")).alias("repetition"))
    rows = pl.scan_parquet(rollouts).select(columns).collect(engine="streaming")
    tokens = int(rows["tokens"].sum())
    return {
        "response_tokens": tokens / len(rows),
        "surprise": -sum(rows["logp"].to_list()) / tokens,
        "repetition": sum(rows["repetition"].to_list()) / len(rows),
    }


def repetition(ids: pl.Expr) -> pl.Expr:
    """1 - distinct / all grams of 4 tokens of each list of ids, 0..1."""
    element = pl.element().cast(pl.UInt64)
    terms = [element.shift(-place) * factor for place, factor in enumerate(_FACTORS)]
    grams = ids.list.eval(pl.sum_horizontal(terms, ignore_nulls=False).drop_nulls())
    all_grams = grams.list.len()
    distinct = grams.list.n_unique()
    return pl.when(all_grams > 0).then(1 - distinct / all_grams).otherwise(0.0)


def compared(now: Mapping[str, float], before: Sequence[Mapping[str, float]]) -> Values:
    """The values that `guards.rollout` bounds, from the metrics of an iteration and those of the
    iterations before it, first one first; without these, only what needs none of them.

        length_ratio    mean length against that of the first iteration: the larger quotient
        cut_off_rise    share of responses cut off, less that of the first iteration
        surprise_drop   the first iteration's surprise as a multiple of this one's
        success_drop    the largest drop of the share of successes against an earlier iteration,
                        less two standard errors
    """
    values: Values = {"surprise": now["surprise"], "repetition": now["repetition"]}
    if before:
        length, first = now["response_tokens"], before[0]["response_tokens"]
        values["length_ratio"] = max(length / first, first / length)
        surprise = max(now["surprise"], 1e-12)  # greedy samples of a sure model have none
        values["surprise_drop"] = before[0]["surprise"] / surprise
        values["cut_off_rise"] = now["cut_off_share"] - before[0]["cut_off_share"]
        values["success_drop"] = max(_drop(now, metrics) for metrics in before)
    return values


def _drop(now: Mapping[str, float], before: Mapping[str, float]) -> float:
    """By how much the share of successes has fallen, less two standard errors, for which all
    samples of a problem count as one and a problem is solved or not: 2 sqrt(1/4P + 1/4P').
    """
    error = math.sqrt(0.25 / now["problems"] + 0.25 / before["problems"])
    return before["success_share"] - now["success_share"] - 2 * error
