"""Mean divergence and mean entropy of the student by kind of token, for metrics/score-<it>.json.

Where the student is sure and the teacher disagrees, there is something to learn; the first token of
a response shows what the two prompts alone make of it.
"""

import math
from pathlib import Path

import polars as pl

from rosd_core.tables.parquet import frames

COLUMNS = ("divergence", "student_entropy")

TokenMeans = dict[str, dict[str, float | None]]


def token_means(scores: Path) -> TokenMeans:
    """The means, in nats per token, over the supervised tokens of the table `scores` that were
    scored: `first`, token 0 of each response; `wrong` and `correct`, all tokens of rows of this
    kind. None where there is no such token.

    Memory holds a few numbers per row. Sums over rows are exact, so that the order in which rows
    stream does not show.
    """
    scored = pl.col("divergence").list.len() > 0
    values = {column: pl.col(column).cast(pl.List(pl.Float64)) for column in COLUMNS}
    kept = (
        "kind",
        pl.col("divergence").list.len().alias("tokens"),
        (pl.col("positions").list.first() == 0).alias("has_first"),  # positions are ascending
        *(value.list.sum().alias(column) for column, value in values.items()),
        *(value.list.first().alias(f"first/{column}") for column, value in values.items()),
    )
    parts = frames(scores, ["kind", "positions", *COLUMNS])
    table = pl.concat(part.filter(scored).select(*kept) for part in parts)
    first, means = table.filter("has_first"), {}
    means["first"] = {c: _mean(first[f"first/{c}"], len(first)) for c in COLUMNS}
    for kind in ("wrong", "correct"):
        some = table.filter(kind=kind)
        means[kind] = {c: _mean(some[c], sum(some["tokens"].to_list())) for c in COLUMNS}
    return means


def _mean(sums: pl.Series, tokens: int) -> float | None:
    return math.fsum(sums.to_list()) / tokens if tokens else None
