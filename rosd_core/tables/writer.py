"""Writing a table row group after row group, so that memory holds one: a group is bounded by rows
and by bytes, since readers decode a whole one. Lists of tokens make long rows.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from rosd_core.tables.atomic import Publication, replacing
from rosd_core.tables.keys import KEYS, refuse_duplicates
from rosd_core.tables.origin import Origin, with_origin
from rosd_core.tables.parquet import as_frame
from rosd_core.tables.schemas import SCHEMAS

ROW_GROUP = 4096  # rows of a row group, at most
GROUP_BYTES = 64 * 2**20  # of its values in memory, unless one row has more


def file_format(table: str) -> dict[str, Any]:
    """Parquet options. Floats are split by byte, so that their exponents compress: a third less for
    log-probabilities. All other columns use dictionaries.
    """
    leaves = []
    for field in SCHEMAS[table]:
        name, arrow_type = field.name, field.type
        while pa.types.is_list(arrow_type):
            name, arrow_type = f"{name}.list.element", arrow_type.value_type
        leaves.append((name, pa.types.is_floating(arrow_type)))
    floats = [name for name, is_float in leaves if is_float]
    others = [name for name, is_float in leaves if not is_float]
    return {
        "compression": "zstd",
        "use_byte_stream_split": floats,
        "use_dictionary": others,
        "write_page_checksum": True,
    }


class TableWriter:
    """Rows that are added become row groups, in order, each as large as the bounds allow."""

    def __init__(self, table: str, file: pq.ParquetWriter) -> None:
        self.key, self.file = KEYS[table], file
        self.waiting: list[pa.Table] = []
        self.keys: list[pl.DataFrame] = []

    def add(self, rows: pa.Table) -> None:
        """Add rows, which `to_arrow` has checked."""
        self.keys.append(as_frame(rows.select(self.key)))
        self.waiting.append(rows)
        bytes_waiting = sum(part.nbytes for part in self.waiting)
        if sum(map(len, self.waiting)) > ROW_GROUP or bytes_waiting > GROUP_BYTES:
            *whole, last = self._groups()
            self._write(whole)
            self.waiting = [last]

    def end_group(self) -> None:
        """Rows that are added from now on begin a new row group."""
        self._write(self._groups())
        self.waiting = []

    def _groups(self) -> list[pa.Table]:
        rows = pa.concat_tables(self.waiting).combine_chunks() if self.waiting else None
        return [] if rows is None else list(bounded(rows))

    def _write(self, groups: list[pa.Table]) -> None:
        metadata = self.file.schema.metadata
        for group in groups:
            self.file.write_table(group.replace_schema_metadata(metadata), ROW_GROUP)


def bounded(rows: pa.Table) -> Iterator[pa.Table]:
    """Rows in pieces of at most ROW_GROUP rows and GROUP_BYTES bytes each, one row at least."""
    for start in range(0, max(1, len(rows)), ROW_GROUP):
        yield from _halved(rows.slice(start, ROW_GROUP))


def _halved(rows: pa.Table) -> Iterator[pa.Table]:
    if rows.nbytes <= GROUP_BYTES or len(rows) < 2:
        yield rows
        return
    half = len(rows) // 2
    yield from _halved(rows.slice(0, half))
    yield from _halved(rows.slice(half))


@contextmanager
def table_writer(
    table: str, path: Path, together: Publication | None = None, origin: Origin | None = None
) -> Iterator[TableWriter]:
    """Yield the writer of a table, which appears at `path`, or with all of `together`, once the
    block has ended without an error; with its origin (or that of `together`). Raises RosdError
    where two rows have the same key.
    """
    schema = with_origin(SCHEMAS[table], together.origin if together else origin)
    with replacing(path, together) as temporary:
        with pq.ParquetWriter(temporary, schema, **file_format(table)) as file:
            writer = TableWriter(table, file)
            yield writer
            writer.end_group()
        if writer.keys:
            refuse_duplicates(pl.concat(writer.keys), KEYS[table], str(path))
