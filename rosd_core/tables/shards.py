"""One helper for every long stage: work shard by shard, write each shard as it comes, publish the
table at the end.
"""

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from rosd_core.errors import RosdError
from rosd_core.tables.atomic import replacing
from rosd_core.tables.io import file_format, to_arrow
from rosd_core.tables.schemas import SCHEMAS

Rows = Sequence[dict[str, Any]]


def write_shards(
    table: str,
    path: Path,
    items: Rows,
    size: int,
    work: Callable[[Rows], Rows],
) -> None:
    """Run `work` on shards of `size` items and write their rows, in order, as the table at `path`.

    Each shard becomes a row group, so memory holds one shard; an interrupted run leaves no table
    under `path`. Raises RosdError where there is no item, or no shard gave a row.
    """
    if not items:
        raise RosdError(
            f"{path}: nothing to do: no row is eligible. "
            "Look at the status columns of the table before."
        )
    started, rows, count = time.monotonic(), 0, -(-len(items) // size)
    with replacing(path) as temporary:
        with pq.ParquetWriter(temporary, SCHEMAS[table], **file_format(table)) as writer:
            for number, start in enumerate(range(0, len(items), size), 1):
                made = to_arrow(table, work(items[start : start + size]))
                writer.write_table(made)
                rows += made.num_rows
                seconds = time.monotonic() - started
                note = f"{table}: shard {number}/{count}, {rows} rows, {seconds:.1f} s"
                print(note, file=sys.stderr, flush=True)
        if rows == 0:
            raise RosdError(
                f"{path}: not one row came out. Look at the status columns of the table before."
            )
