"""Metrics of rollouts, counted by hand."""

import polars as pl

from rosd_core.rollout.metrics import COLUMNS, rollout_metrics


def test_rollout_metrics_by_hand():
    # three groups of two: one success, none, two; the prompt of the second was shortened
    rows = pl.DataFrame(
        {
            "problem_id": ["a", "a", "b", "b", "c", "c"],
            "success": [True, False, False, False, True, True],
            "finish_reason": ["stop", "stop", "length", "length", "length", "stop"],
            "parsed_answer": ["1", "2", None, "3", "4", "5"],
            "shortened": [None, None, '{"problem": 9}', '{"problem": 9}', None, None],
        }
    )
    assert rollout_metrics(rows.select(COLUMNS)) == {
        "rollouts": 6,
        "problems": 3,
        "success_share": 3 / 6,
        "mixed_group_share": 1 / 3,
        "cut_off_share": 3 / 6,
        "unreadable_share": 1 / 6,
        "shortened": 1,
    }
