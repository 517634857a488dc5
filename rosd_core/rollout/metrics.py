"""Counts and shares of a rollout table."""

import polars as pl

COLUMNS = ["problem_id", "success", "finish_reason", "parsed_answer", "shortened"]


def rollout_metrics(rollouts: pl.DataFrame) -> dict[str, float]:
    """Metrics of the stage, from COLUMNS: responses, share of successes, of groups with both kinds
    of response (the others give no peer or no error), of responses cut off and without a readable
    answer, and the number of shortened prompts.
    """
    groups = rollouts.group_by("problem_id").agg(pl.col("success").mean())["success"]
    rows = len(rollouts)
    return {
        "rollouts": rows,
        "problems": len(groups),
        "success_share": int(rollouts["success"].sum()) / rows,
        "mixed_group_share": int(((groups > 0) & (groups < 1)).sum()) / len(groups),
        "cut_off_share": int((rollouts["finish_reason"] == "length").sum()) / rows,
        "unreadable_share": rollouts["parsed_answer"].null_count() / rows,
        "shortened": shortened_prompts(rollouts),
    }


def shortened_prompts(rows: pl.DataFrame) -> int:
    """Problems whose prompt did not fit; their samples share it."""
    return rows.filter(pl.col("shortened").is_not_null())["problem_id"].n_unique()
