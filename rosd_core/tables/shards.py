"""Long stages work shard by shard: each shard is written when it is done, and the table appears
under its name at the end.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pyarrow.parquet as pq

from rosd_core.errors import RosdError
from rosd_core.tables.atomic import replacing
from rosd_core.tables.io import file_format, to_arrow
from rosd_core.tables.progress import Progress
from rosd_core.tables.schemas import SCHEMAS

Item = TypeVar("Item")


def write_shards(
    table: str,
    path: Path,
    items: Sequence[Item],
    size: int,
    work: Callable[[Sequence[Item]], Sequence[Mapping[str, Any]]],
    progress: Progress | None = None,
) -> None:
    """Run `work` on shards of `size` items and write their rows, in order, as the table at `path`.

    Each shard becomes a row group, so memory holds one shard. `progress` is told of each shard;
    `work` may report its rows to it. An interrupted run leaves no table under `path`. Raises
    RosdError where there is no item, or no shard returned a row.
    """
    if not items:
        raise RosdError(
            f"{path}: nothing to do: no row is eligible. "
            "Look at the status columns of the table before."
        )
    progress, written = progress or Progress(table), 0
    with replacing(path) as temporary:
        with pq.ParquetWriter(temporary, SCHEMAS[table], **file_format(table)) as writer:
            for number, start in enumerate(range(0, len(items), size), 1):
                progress.shard(number, size, len(items))
                rows = to_arrow(table, work(items[start : start + size]))
                writer.write_table(rows)
                written += rows.num_rows
                progress.shard_done(written)
        if written == 0:
            raise RosdError(
                f"{path}: no row was written. Look at the status columns of the table before."
            )
