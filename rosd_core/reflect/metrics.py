"""Counts of a reflection table."""

import polars as pl

COLUMNS = ["status", "shortened"]
STATUS = ("ok", "no_idea", "no_quote", "truncated", "skipped")


def reflection_metrics(reflections: pl.DataFrame) -> dict[str, int]:
    """Metrics of the stage, from COLUMNS: rows, rows of each status, shortened prompts."""
    counts = dict(reflections["status"].value_counts().iter_rows())
    return {
        "reflections": len(reflections),
        **{f"status_{status}": counts.get(status, 0) for status in STATUS},
        "shortened": len(reflections) - reflections["shortened"].null_count(),
    }
