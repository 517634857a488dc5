"""Evaluation samples from rollouts."""

from collections.abc import Sequence
from typing import Any

from rosd_core.tables.shards import Rows


def evaluation_rows(rollouts: Rows, problems: Sequence[dict[str, Any]], iteration: str) -> Rows:
    """Rows of the table `evaluation` from rollout rows."""
    domain = {p["problem_id"]: p["domain"] for p in problems}
    kept = (
        "problem_id",
        "sample",
        "response",
        "parsed_answer",
        "reward",
        "success",
        "finish_reason",
    )
    return [
        {k: row[k] for k in kept}
        | {
            "iteration": iteration,
            "domain": domain[row["problem_id"]],
            "response_tokens": len(row["response_ids"]),
        }
        for row in rollouts
    ]
