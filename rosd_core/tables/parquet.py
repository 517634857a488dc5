"""Reading Parquet files whose pages carry checksums: a byte that has changed is refused.

pyarrow compares the checksums; polars' own reader does not, so no table is read with it.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from rosd_core.errors import RosdError


@contextmanager
def verified(path: Path) -> Iterator[pq.ParquetFile]:
    """A file, open to be read. Raises RosdError where it is no Parquet file, or a page is damaged;
    also while it is being read.
    """
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            yield file
    except (pa.ArrowException, OSError, UnicodeDecodeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise RosdError(
            f"{path}: not a Parquet file, or damaged ({reason}). Delete it and run `dvc repro`."
        ) from None


def read_frame(path: Path, columns: Sequence[str] | None = None) -> pl.DataFrame:
    """A file, or some of its columns in this order."""
    with verified(path) as file:
        return as_frame(file.read(None if columns is None else list(columns)), columns)


def frames(path: Path, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
    """These columns of one row group after the other, which is all that memory holds."""
    with verified(path) as file:
        for number in range(file.num_row_groups):
            yield as_frame(file.read_row_group(number, list(columns)), columns)


def read_where(
    path: Path, column: str, values: Sequence[str], columns: Sequence[str] | None = None
) -> pl.DataFrame:
    """The rows whose `column` is one of `values`, in the order of the file; all columns, or some in
    this order, which have to include `column`. Row groups without any are not read.
    """
    found, wanted = [], pl.col(column).is_in(list(values))
    names = None if columns is None else list(columns)
    with verified(path) as file:
        for number in range(file.num_row_groups):
            if as_frame(file.read_row_group(number, [column])).select(wanted.any()).item():
                found.append(as_frame(file.read_row_group(number, names), names).filter(wanted))
        return pl.concat(found) if found else as_frame(file.schema_arrow.empty_table(), names)


def as_frame(table: pa.Table, columns: Sequence[str] | None = None) -> pl.DataFrame:
    """An arrow table, or some of its columns in this order, as a polars frame."""
    plain = pa.schema(
        [pa.field(f.name, f.type) for f in table.schema]
    )  # a damaged description would stop polars
    frame = pl.from_arrow(pa.Table.from_arrays(table.columns, schema=plain))
    assert isinstance(frame, pl.DataFrame)
    return frame if columns is None else frame.select(columns)
