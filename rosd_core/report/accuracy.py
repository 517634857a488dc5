"""The accuracy table (a row per domain, a column per iteration), loss curve and summary."""

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl
from rich import box
from rich.console import Console
from rich.table import Table


def loss_curve(curves: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """The loss of every optimizer step; `step` counts through all iterations."""
    return pl.concat(
        curve.select(pl.lit(key).alias("iteration"), "step", "loss", "tokens", "grad_norm")
        for key, curve in curves.items()
    )


def summary(accuracy: pl.DataFrame, trained: Sequence[str]) -> dict[str, Any]:
    """What `dvc metrics` shows: the accuracy of each domain after the last iteration in percent,
    and the percentage points gained since base, in the trained domains and out of them (means of
    domains).
    """
    domains = (
        accuracy.group_by("domain", maintain_order=True)
        .agg(
            (100 * pl.col("mean").first()).alias("base"),
            (100 * pl.col("mean").last()).alias("last"),
        )
        .with_columns(
            (pl.col("last") - pl.col("base")).alias("gain"),
            pl.col("domain").is_in(trained).alias("trained"),
        )
    )
    inside, outside = (
        domains.filter(pl.col("trained") == t)["gain"].to_list() for t in (True, False)
    )
    return {
        "accuracy": {r["domain"]: round(r["last"], 2) for r in domains.iter_rows(named=True)},
        "in_domain_gain": round(sum(inside) / max(1, len(inside)), 2),
        "out_of_domain_gain": round(sum(outside) / max(1, len(outside)), 2),
    }


def accuracy_table(
    accuracy: pl.DataFrame, keys: Sequence[str], trained: Sequence[str], precision: int, k: int
) -> None:
    """Print mean@k in percent with its interval, base as iteration 0."""
    table = Table(
        title=f"mean@{k} in percent, with its confidence interval over problems",
        caption="* trained on; the others are out of domain",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        collapse_padding=True,
    )
    table.add_column("domain", no_wrap=True)
    for number, key in enumerate(keys):
        table.add_column(f"{number}: {key}", justify="right", no_wrap=True)
    cells = {(r["domain"], r["iteration"]): r for r in accuracy.iter_rows(named=True)}
    for domain in accuracy["domain"].unique(maintain_order=True):
        row = [f"{domain} *" if domain in trained else domain]
        for key in keys:
            c = cells[domain, key]
            low, high = round(100 * c["low"]), round(100 * c["high"])
            row.append(f"{100 * c['mean']:.{precision}f} [{low},{high}]")
        table.add_row(*row)
    Console().print(table)
