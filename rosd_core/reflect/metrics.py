"""Counts and shares of a reflection table."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import polars as pl

COLUMNS = ["kind", "status", "skip_reason", "repairs", "attempts", "answer_tokens", "shortened"]


def reflection_metrics(rows: pl.DataFrame) -> dict[str, Any]:
    """Metrics of the stage, from COLUMNS. `readable_share` is the share of the reflections that
    have what their kind needs (status ok), null without any.
    """
    asked = rows.filter(pl.col("status") != "skipped")
    wrong = asked.filter(kind="wrong")
    return {
        "rollouts": len(rows),
        "reflections": len(asked),
        "readable_share": _share(asked),
        "readable_share_wrong": _share(wrong),
        "status": _counts(asked["status"].to_list()),
        "skipped": _counts(rows["skip_reason"].drop_nulls().to_list()),
        "repairs": _counts(asked["repairs"].explode().drop_nulls().to_list()),
        "asked_again": int((asked["attempts"] > 1).sum()),
        "shortened": int(rows["shortened"].is_not_null().sum()),
        "tokens": int(rows["answer_tokens"].sum()),
    }


def _share(asked: pl.DataFrame) -> float | None:
    return float((asked["status"] == "ok").sum()) / len(asked) if len(asked) else None


def _counts(values: list[str]) -> dict[str, int]:
    counted: Mapping[str, int] = Counter(values)
    return dict(sorted(counted.items()))
