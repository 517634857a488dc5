"""Which rows of the score table make up each optimizer step."""

import random
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any, TypeVar

Row = TypeVar("Row", bound=Any)


def step_rows(
    groups: Iterable[Sequence[Row]], rows_per_step: int, seed: int, shuffle: str
) -> Iterator[list[Row]]:
    """The rows of each optimizer step, shuffled within a row group of the table, so that memory
    holds one group. `problems` shuffles problems and keeps the rows of each together.
    """
    rng, waiting = random.Random(seed), []
    for group in groups:
        waiting += _shuffled(group, rng, shuffle)
        while len(waiting) >= rows_per_step:
            yield waiting[:rows_per_step]
            waiting = waiting[rows_per_step:]
    if waiting:
        yield waiting


def _shuffled(group: Sequence[Row], rng: random.Random, shuffle: str) -> list[Row]:
    if shuffle == "rows":
        rows = list(group)
        rng.shuffle(rows)
        return rows
    problems = [list(rows) for _, rows in groupby(group, lambda row: row["problem_id"])]
    rng.shuffle(problems)
    return [row for rows in problems for row in rows]
