"""Methods compared: arms of (method, seed), means over seeds, paired differences to a baseline.

An *arm* is one method run for all iterations with one seed. Arms of one seed share problems, base
evaluation and the first iteration's rollouts, so that differences between methods are paired.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

IN, OUT = "in domain", "out of domain"


def arm_accuracy(samples: pl.DataFrame, trained: Sequence[str]) -> pl.DataFrame:
    """mean@k in percent of one arm per iteration and domain, with the means in and out of domain.

    A problem's samples count as one, a domain's problems alike, and so do domains: columns
    iteration, domain, accuracy, change (from base, in points).
    """
    per_problem = samples.group_by("iteration", "domain", "problem_id", maintain_order=True).agg(
        pl.col("success").mean() * 100
    )
    domains = per_problem.group_by("iteration", "domain", maintain_order=True).agg(
        pl.col("success").mean().alias("accuracy")
    )
    where = pl.when(pl.col("domain").is_in(list(trained))).then(pl.lit(IN)).otherwise(pl.lit(OUT))
    means = (
        domains.with_columns(where.alias("domain"))
        .group_by("iteration", "domain", maintain_order=True)
        .agg(pl.col("accuracy").mean())
    )
    rows = pl.concat([means, domains])
    base = rows.filter(iteration="base").select("domain", pl.col("accuracy").alias("base"))
    return (
        rows.join(base, on="domain", maintain_order="left")
        .with_columns((pl.col("accuracy") - pl.col("base")).alias("change"))
        .drop("base")
    )


def interval(values: Sequence[float], confidence: float, resamples: int) -> tuple[float, ...]:
    """Mean of the values (one per seed) and its percentile bootstrap interval over them: (mean,
    low, high).

    With five seeds it is a rough one: the bootstrap knows no value beyond those seen.
    """
    values_S = np.asarray(values, dtype=float)
    draws = np.random.default_rng(0).integers(0, len(values_S), (resamples, len(values_S)))
    edges = [(1 - confidence) / 2, (1 + confidence) / 2]
    low, high = np.quantile(values_S[draws].mean(1), edges)
    return float(values_S.mean()), float(low), float(high)


def summarise(
    results: pl.DataFrame, baseline: str, confidence: float, resamples: int
) -> pl.DataFrame:
    """One row per method and quantity, from `results` (method, seed, quantity, value).

    Columns: method, quantity, mean, low, high; and difference, difference_low, difference_high, the
    mean over seeds of the difference to the baseline *at the same seed*. Null for the baseline.
    """
    base = dict(results.filter(method=baseline).select(_KEY, "value").iter_rows())
    rows = []
    for (method, quantity), group in results.group_by("method", "quantity", maintain_order=True):
        row: dict[str, Any] = {"method": method, "quantity": quantity, "seeds": len(group)}
        names, against = ("mean", "low", "high"), _DIFFERENCE
        told = interval(group["value"].to_list(), confidence, resamples)
        row |= dict(zip(names, told, strict=True)) | dict.fromkeys(against)
        pairs = [
            value - base[key]
            for key, value in group.select(_KEY, "value").iter_rows()
            if key in base
        ]
        if method != baseline and pairs:
            row |= dict(zip(against, interval(pairs, confidence, resamples), strict=True))
        rows.append(row)
    return pl.DataFrame(rows, infer_schema_length=None)


_KEY = pl.format("{}/{}", "seed", "quantity").alias("key")
_DIFFERENCE = ("difference", "difference_low", "difference_high")


def cells(
    summary: pl.DataFrame, methods: Sequence[str], quantities: Sequence[str], best_of: Sequence[str]
) -> list[list[str]]:
    """The table as text: a row per method, a cell `mean [low, high]` per quantity; the best mean of
    the quantities in `best_of` (the highest) stands between `**`.
    """
    known = {(r["method"], r["quantity"]): r for r in summary.iter_rows(named=True)}
    shown = [m for m in methods if any((m, q) in known for q in quantities)]
    best = {q: max(known[m, q]["mean"] for m in shown) for q in best_of}
    rows = []
    for method in shown:
        row = [method]
        for quantity in quantities:
            told = known[method, quantity]
            text = f"{told['mean']:.1f}"
            text = f"**{text}**" if told["mean"] == best.get(quantity) else text
            row.append(f"{text} [{told['low']:.1f}, {told['high']:.1f}]")
        rows.append(row)
    return rows


def differences(summary: pl.DataFrame, methods: Sequence[str], quantities: Sequence[str]) -> list:
    """The same for the paired differences to the baseline."""
    known = {(r["method"], r["quantity"]): r for r in summary.iter_rows(named=True)}
    rows = []
    for method in methods:
        told = [known[method, q] for q in quantities if (method, q) in known]
        if told and all(t["difference"] is not None for t in told):
            text = [
                "{difference:+.1f} [{difference_low:+.1f}, {difference_high:+.1f}]".format(**t)
                for t in told
            ]
            rows.append([method, *text])
    return rows


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def draw(curves: pl.DataFrame, methods: Sequence[str], file: Path) -> None:
    """Accuracy over iterations, in and out of domain: the mean over seeds, and every seed as a thin
    line. `curves` holds method, seed, iteration, domain, accuracy.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, domain in zip(figure.subplots(1, 2), (IN, OUT), strict=True):
        for number, method in reversed(list(enumerate(methods))):  # the first one on top
            rows = curves.filter(method=method, domain=domain)
            steps = rows["iteration"].unique(maintain_order=True).to_list()
            for _, seed in rows.group_by("seed", maintain_order=True):
                axes.plot(range(len(steps)), seed["accuracy"], color=f"C{number}", lw=0.4)
            mean = rows.group_by("iteration", maintain_order=True).agg(pl.col("accuracy").mean())
            axes.plot(
                range(len(steps)), mean["accuracy"], color=f"C{number}", lw=2,
                ls=("-", "--", "-.", ":")[number % 4], label=method,
            )  # fmt: skip
            axes.set_xticks(range(len(steps)), steps)
        axes.set(title=domain, xlabel="iteration", ylabel="mean@k in percent")
        axes.grid(alpha=0.3)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.axes[0].legend(handles[::-1], labels[::-1], fontsize="small", handlelength=3)
    figure.savefig(file, dpi=150, format="png", metadata={"Software": None})
