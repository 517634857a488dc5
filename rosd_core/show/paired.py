"""Two evaluations compared problem by problem.

Accuracies are paired by problem, so that how hard each problem is cancels out. A problem counts as
right where at least half of its samples are.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from rosd_core.resampling import bootstrap_interval


def paired(before: pl.DataFrame, after: pl.DataFrame) -> pl.DataFrame:
    """A row per problem that both evaluations have: domain, problem_id, right and samples of each
    (`right_before`, `samples_before`, ..), and `change`, the difference of their shares.
    """

    def shares(frame: pl.DataFrame, name: str) -> pl.DataFrame:
        return frame.group_by("domain", "problem_id", maintain_order=True).agg(
            pl.col("success").sum().cast(pl.Int64).alias(f"right_{name}"),
            pl.len().cast(pl.Int64).alias(f"samples_{name}"),
        )

    both = shares(before, "before").join(
        shares(after, "after"), ["domain", "problem_id"], maintain_order="left"
    )
    share = {
        name: pl.col(f"right_{name}") / pl.col(f"samples_{name}") for name in ("before", "after")
    }
    return both.with_columns(
        share["before"].alias("before"),
        share["after"].alias("after"),
        (share["after"] - share["before"]).alias("change"),
    )


@dataclass(frozen=True)
class Change:
    """Of a domain, in shares and numbers of problems: `rose` and `fell` had more or fewer correct
    samples after, and `p` is the exact sign test on them; `gained` and `lost` turned right and
    wrong. `low` to `high` is the interval of the difference of the accuracies.
    """

    domain: str
    problems: int
    before: float
    after: float
    low: float
    high: float
    rose: int
    fell: int
    p: float
    gained: int
    lost: int

    @property
    def difference(self) -> float:
        return self.after - self.before


def changes(pairs: pl.DataFrame, confidence: float, resamples: int, seed: int) -> list[Change]:
    """One per domain, in the order of the rows."""
    found = []
    for (domain,), group in pairs.group_by("domain", maintain_order=True):
        was, now = group["before"] >= 0.5, group["after"] >= 0.5
        rose, fell = int((group["change"] > 0).sum()), int((group["change"] < 0).sum())
        _, low, high = bootstrap_interval(group["change"].to_numpy(), confidence, resamples, seed)
        before, after = (sum(group[n].to_list()) / len(group) for n in ("before", "after"))
        row = Change(
            domain=str(domain),
            problems=len(group),
            before=before,
            after=after,
            low=low,
            high=high,
            rose=rose,
            fell=fell,
            p=sign_test(rose, fell),
            gained=int((~was & now).sum()),
            lost=int((was & ~now).sum()),
        )
        found.append(row)
    return found


def sign_test(one_way: int, other_way: int) -> float:
    """The two-sided p-value of the exact sign test: of the n problems that changed, how likely is a
    split at least as uneven if each way is as likely as the other? 1 where none changed. With one
    sample per problem it is McNemar's exact test.

        p = min(1, 2 sum_{i <= min} C(n, i) / 2^n)

    Source: Conover 1999, Practical Nonparametric Statistics, 3.4 and 3.5.
    """
    n, least = one_way + other_way, min(one_way, other_way)
    return min(1.0, 2 * sum(math.comb(n, i) for i in range(least + 1)) / 2**n)


def largest_changes(pairs: pl.DataFrame, count: int) -> tuple[Sequence[dict], Sequence[dict]]:
    """The `count` problems that rose most, and those that fell most; equal ones by their ids."""
    rose = pairs.filter(pl.col("change") > 0).sort("change", "problem_id", descending=[True, False])
    fell = pairs.filter(pl.col("change") < 0).sort("change", "problem_id")
    return rose.head(count).to_dicts(), fell.head(count).to_dicts()
