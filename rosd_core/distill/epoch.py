"""The optimizer steps of one pass over the score table."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rosd_core.distill.steps import step_rows
from rosd_core.distill.targets import LEFT_OUT
from rosd_core.distill.token_weights import TokenWeightSettings, weighted
from rosd_core.tables.io import row_groups


def scored_steps(
    table: Path, weighing: TokenWeightSettings, rows_per_step: int, seed: int, shuffle: str
) -> Iterator[list[dict[str, Any]]]:
    """The rows of each step, as in `step_rows`, without those that are left out, and with their
    token weights.
    """
    groups = row_groups("scores", table)
    rows = (weighted([r for r in g if r["status"] not in LEFT_OUT], weighing) for g in groups)
    return step_rows(rows, rows_per_step, seed, shuffle)
