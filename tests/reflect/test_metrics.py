"""Metrics of reflections, counted by hand."""

import polars as pl

from rosd_core.reflect.metrics import COLUMNS, reflection_metrics


def test_reflection_metrics_by_hand():
    status = ["ok", "ok", "no_quote", "truncated", "skipped"]
    shortened = [None, '{"wrong": 7}', None, '{"wrong": 1}', None]
    rows = pl.DataFrame({"status": status, "shortened": shortened})
    assert reflection_metrics(rows.select(COLUMNS)) == {
        "reflections": 5,
        "status_ok": 2,
        "status_no_idea": 0,
        "status_no_quote": 1,
        "status_truncated": 1,
        "status_skipped": 1,
        "shortened": 2,
    }
