"""Long stages work shard by shard: each shard is written when it is done, and the table appears
under its name at the end.
"""

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq

from rosd_core.errors import RosdError
from rosd_core.tables.atomic import Publication, replacing
from rosd_core.tables.io import file_format, to_arrow
from rosd_core.tables.keys import KEYS, refuse_duplicates
from rosd_core.tables.origin import with_origin
from rosd_core.tables.parquet import as_frame
from rosd_core.tables.progress import Progress
from rosd_core.tables.schemas import SCHEMAS
from rosd_core.workers.pool import Opened, Workers, results


def write_shards(
    table: str,
    path: Path,
    items: Sequence[Any],
    size: int,
    opened: Opened,
    workers: Workers,
    together: Publication | None = None,
) -> Path:
    """Work on shards of `size` items and write their rows, in order, as the table at `path`.
    `opened` gets the models ready and returns the work on a shard; each worker calls it once.
    Returns where the table can be read now: under a temporary name until `together` is published.

    Each shard becomes a row group, so memory holds one shard per worker. An interrupted run leaves
    no table under `path`. Raises RosdError where there is no item, or no shard returned a row.
    """
    if not items:
        raise RosdError(
            f"{path}: nothing to do: no row is eligible. "
            "Look at the status columns of the table before."
        )
    progress, written, keys = Progress(table), 0, []
    shards = [items[start : start + size] for start in range(0, len(items), size)]
    done = results(opened, shards, workers, progress.report)
    with closing(done), replacing(path, together) as temporary:
        schema = with_origin(SCHEMAS[table], together.origin if together else None)
        with pq.ParquetWriter(temporary, schema, **file_format(table)) as writer:
            for number in range(1, len(shards) + 1):
                progress.shard(number, size, len(items))
                rows = to_arrow(table, next(done))
                writer.write_table(rows.replace_schema_metadata(schema.metadata))
                written += rows.num_rows
                keys.append(as_frame(rows.select(KEYS[table])))
                progress.shard_done(written)
        if written == 0:
            raise RosdError(
                f"{path}: no row was written. Look at the status columns of the table before."
            )
        refuse_duplicates(pl.concat(keys), KEYS[table], str(path))
    return path if together is None else temporary
