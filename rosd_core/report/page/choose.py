"""Which rollouts the page holds, where it cannot hold all."""

import hashlib

import polars as pl

BYTES_PER_TOKEN = 12  # of a token's end
BYTES_PER_SUPERVISED = 30  # of its numbers
BYTES_PER_SHOWN = 20  # of one likely id of student and teacher


def choose_problems(rows: pl.DataFrame, budget: float, show_top: int) -> set[str]:
    """The problems whose rollouts are shown, from columns problem_id, tokens, supervised and
    characters (of all texts of a rollout) of the rollouts of all iterations; `show_top` likely ids
    are shown of each supervised token.

    Problems are taken whole, with all iterations, so that a group can be compared with what became
    of it later. They come in the order of a hash of their ids, until `budget` bytes are used up; at
    least one.
    """
    sizes = rows.group_by("problem_id").agg(
        bytes=pl.col("characters").sum()
        + BYTES_PER_TOKEN * pl.col("tokens").sum()
        + (BYTES_PER_SUPERVISED + show_top * BYTES_PER_SHOWN) * pl.col("supervised").sum()
    )
    left, chosen = budget, set()
    for problem_id, size in sorted(sizes.iter_rows(), key=lambda row: _order(row[0])):
        if chosen and size > left:
            break
        chosen.add(problem_id)
        left -= size
    return chosen


def _order(problem_id: str) -> bytes:
    return hashlib.sha256(problem_id.encode()).digest()
