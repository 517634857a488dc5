"""The primary keys of the tables: no two rows have the same."""

from collections.abc import Sequence

import polars as pl

from rosd_core.errors import RosdError

KEYS: dict[str, list[str]] = {
    "problems": ["problem_id"],
    "rollouts": ["rollout_id"],
    "reflections": ["rollout_id"],
    "alignments": ["rollout_id"],
    "scores": ["rollout_id"],
    "evaluation": ["iteration", "problem_id", "sample"],
    "study": ["arm", "seed", "iteration", "quantity"],
}


def refuse_duplicates(keys: pl.DataFrame, columns: Sequence[str], place: str) -> None:
    """Raises RosdError naming the place and the first key that two rows have."""
    twice = keys.filter(keys.select(columns).is_duplicated())
    if len(twice):
        first = dict(zip(columns, twice.select(columns).row(0), strict=True))
        named = ", ".join(f"{name} {value}" for name, value in first.items())
        raise RosdError(
            f"{place}: {named} is there twice. Delete the table and run its stage again: "
            "`dvc repro`."
        )
