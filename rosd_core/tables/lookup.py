"""Rows of a table by their rollout_id, from whichever row groups hold them."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from rosd_core.tables.io import read_table, to_rows
from rosd_core.tables.keys import KEYS
from rosd_core.tables.parquet import verified


class RowReader:
    """Reads rows by their ids, wherever they are in the table. Memory holds all ids, the row group
    that is being read and the rows that are asked for. Raises RosdError as `read_table` does.
    """

    def __init__(self, table: str, path: Path) -> None:
        self.path = path
        self.ids: list[str] = read_table(table, path, KEYS[table])["rollout_id"].to_list()
        self.row_of = {rollout_id: row for row, rollout_id in enumerate(self.ids)}
        with verified(path) as file:
            groups = range(file.num_row_groups)
            sizes = [file.metadata.row_group(group).num_rows for group in groups]
        self.starts = np.cumsum([0, *sizes])

    def read(self, ids: Iterable[str], columns: Sequence[str] | None = None) -> list[Any]:
        """The rows with these ids (see `to_rows`), in the order of the table: all columns, or some.
        Ids that it does not have are left out, and none comes twice.
        """
        names = None if columns is None else list(columns)
        wanted = sorted({self.row_of[name] for name in ids if name in self.row_of})
        found: list[Any] = []
        with verified(self.path) as file:
            for group, members in groupby(wanted, self._group):
                rows = file.read_row_group(group, names)
                places = np.array(list(members)) - self.starts[group]
                found += to_rows(rows if len(places) == len(rows) else rows.take(places))
        return found

    @property
    def usual_rows(self) -> int:
        """Rows of a row group, on average; at least 1."""
        return max(1, len(self.ids) // (len(self.starts) - 1))

    def batches(self, size: int) -> Iterator[list[str]]:
        """All ids, in order, so many at a time."""
        return (self.ids[start : start + size] for start in range(0, len(self.ids), size))

    def _group(self, row: int) -> int:
        return int(np.searchsorted(self.starts, row, side="right")) - 1
