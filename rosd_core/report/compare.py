"""Methods compared: arms of (method, seed), means over seeds, paired differences to a baseline.

An *arm* is one method run for all iterations with one seed. Arms of one seed share problems, base
evaluation and the first iteration's rollouts, so that differences between methods are paired.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from rosd_core.resampling import bootstrap_interval

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


def arm_values(
    accuracy: pl.DataFrame,
    samples: pl.DataFrame,
    trained: Sequence[str],
    last: str,
    costs: Mapping[str, Any],
) -> dict[str, float]:
    """The quantities of one arm after its last iteration: accuracies, changes from base, and costs
    (its JSON: seconds per stage and share of supervised tokens).
    """
    end = accuracy.filter(iteration=last)
    values = {r["domain"]: r["accuracy"] for r in end.iter_rows(named=True)}
    values |= {f"change {r['domain']}": r["change"] for r in end.iter_rows(named=True)}
    length = samples.filter(pl.col("iteration") == last, pl.col("domain").is_in(list(trained)))
    return values | {
        "response tokens": length["response_tokens"].mean(),
        "supervised %": 100 * costs["supervised_token_share"],
        "seconds": sum(costs["seconds"].values()),
    }


def summarise(
    results: pl.DataFrame, baseline: str, confidence: float, resamples: int
) -> pl.DataFrame:
    """One row per method and quantity, from `results` (method, seed, quantity, value).

    Columns: method, quantity, seeds, mean, low, high; and difference, difference_low,
    difference_high, the mean over seeds of the difference to the baseline *at the same seed*. Null
    for the baseline.
    """
    base = dict(results.filter(method=baseline).select(_KEY, "value").iter_rows())
    rows = []
    for (method, quantity), group in results.group_by("method", "quantity", maintain_order=True):
        row: dict[str, Any] = {"method": method, "quantity": quantity, "seeds": len(group)}
        values = group["value"].to_list()
        row |= dict(zip(_MEAN, bootstrap_interval(values, confidence, resamples, 0), strict=True))
        pairs = [
            value - base[key]
            for key, value in group.select(_KEY, "value").iter_rows()
            if key in base
        ]
        row |= dict.fromkeys(_DIFFERENCE)
        if method != baseline and pairs:
            interval = bootstrap_interval(pairs, confidence, resamples, 0)
            row |= dict(zip(_DIFFERENCE, interval, strict=True))
        rows.append(row)
    return pl.DataFrame(rows, infer_schema_length=None)


_KEY = pl.format("{}/{}", "seed", "quantity").alias("key")
_MEAN = ("mean", "low", "high")
_DIFFERENCE = ("difference", "difference_low", "difference_high")


def _by_cell(summary: pl.DataFrame) -> dict[tuple[str, str], dict[str, Any]]:
    return {(row["method"], row["quantity"]): row for row in summary.iter_rows(named=True)}


def mean_cells(
    summary: pl.DataFrame, methods: Sequence[str], quantities: Sequence[str], best_of: Sequence[str]
) -> list[list[str]]:
    """The table as text: a row per method, a cell `mean [low, high]` per quantity; the highest mean
    of the quantities in `best_of` is set in `**`.
    """
    cells = _by_cell(summary)
    present = [m for m in methods if any((m, q) in cells for q in quantities)]
    best = {q: max(cells[m, q]["mean"] for m in present) for q in best_of}
    rows = []
    for method in present:
        row = [method]
        for quantity in quantities:
            cell = cells[method, quantity]
            text = f"{cell['mean']:.1f}"
            text = f"**{text}**" if cell["mean"] == best.get(quantity) else text
            row.append(f"{text} [{cell['low']:.1f}, {cell['high']:.1f}]")
        rows.append(row)
    return rows


def difference_cells(
    summary: pl.DataFrame, methods: Sequence[str], quantities: Sequence[str]
) -> list[list[str]]:
    """The same for the paired differences to the baseline."""
    cells = _by_cell(summary)
    rows = []
    for method in methods:
        found = [cells[method, q] for q in quantities if (method, q) in cells]
        if found and all(cell["difference"] is not None for cell in found):
            text = "{difference:+.1f} [{difference_low:+.1f}, {difference_high:+.1f}]"
            rows.append([method, *(text.format(**cell) for cell in found)])
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
