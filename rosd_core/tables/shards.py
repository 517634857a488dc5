"""Long stages work shard by shard: each shard is kept when it is done, and the table appears under
its name at the end.
"""

from collections.abc import Generator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from rosd_core.errors import RosdError
from rosd_core.tables.atomic import Publication, replacing
from rosd_core.tables.io import to_arrow
from rosd_core.tables.progress import Progress
from rosd_core.tables.schemas import SCHEMAS
from rosd_core.tables.writer import file_format, table_writer
from rosd_core.workers.pool import Opened, Workers, results


def write_shards(
    table: str,
    path: Path,
    items: Sequence[Any],
    size: int,
    opened: Opened,
    workers: Workers,
    kept: Path,
    together: Publication | None = None,
) -> Path:
    """Work on shards of `size` items and write their rows, in order, as the table at `path`.
    `opened` gets the models ready and returns the work on a shard; each worker calls it once.
    Returns where the table can be read now: under a temporary name until `together` is published.

    Each shard becomes a row group, or several where it is large, so memory holds one shard per
    worker. Shards that are done are kept in the folder `kept`, which belongs to work on the same
    items alone: what is there is not done again. An interrupted run leaves no table under `path`.
    Raises RosdError where there is no item, or no shard returned a row.
    """
    if not items:
        raise RosdError(
            f"{path}: nothing to do: no row is eligible. "
            "Look at the status columns of the table before."
        )
    shards = [items[start : start + size] for start in range(0, len(items), size)]
    tables = _tables(table, shards, kept, opened, workers)
    with closing(tables), table_writer(table, path, together) as writer:
        for rows in tables:
            writer.add(rows)
            writer.end_group()
        if not any(map(len, writer.keys)):
            raise RosdError(
                f"{path}: no row was written. Look at the status columns of the table before."
            )
    return path if together is None else together.written[path]


def _tables(
    table: str, shards: Sequence[Sequence[Any]], kept: Path, opened: Opened, workers: Workers
) -> Generator[pa.Table, None, None]:
    """The rows of every shard, in order: read where they are kept, else worked on and kept."""
    files = [kept / f"shard-{number:06d}.parquet" for number in range(1, len(shards) + 1)]
    missing = [n for n, file in enumerate(files) if read_shard(table, file) is None]
    progress, written, items = Progress(table), 0, sum(map(len, shards))
    if len(missing) < len(files):
        progress.kept(len(files) - len(missing), len(files), "shards")
    work = [shards[n] for n in missing]
    done = results(opened, work, workers, progress.report) if work else _nothing()
    with closing(done), progress:
        for number, file in enumerate(files):
            if number in missing:
                progress.shard(number + 1, len(shards[0]), items)
                rows = to_arrow(table, next(done))
                with replacing(file) as part:
                    pq.write_table(rows, part, **file_format(table))
                progress.shard_done(written + rows.num_rows)
            else:
                rows = read_shard(table, file)
                assert rows is not None
            written += rows.num_rows
            yield rows


def read_shard(table: str, file: Path) -> pa.Table | None:
    """The rows of a shard that was kept; None where it is missing or cannot be read."""
    if not file.is_file():
        return None
    try:
        return pq.read_table(file, page_checksum_verification=True).cast(SCHEMAS[table])
    except (pa.ArrowException, OSError):
        return None


def _nothing() -> Generator[Sequence[Any], None, None]:
    yield from ()
