"""Reading and writing the tables: a mismatch is refused, nothing is half-written under its final
name.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from rosd_core.errors import RosdError
from rosd_core.tables.atomic import replacing
from rosd_core.tables.schemas import SCHEMAS

ROW_GROUP = 4096


def to_arrow(table: str, rows: Sequence[dict[str, Any]]) -> pa.Table:
    """Rows as an arrow table of the named schema. Raises RosdError naming the column that does not
    fit.
    """
    schema = SCHEMAS[table]
    for row in rows[:1]:
        odd = sorted(set(row) ^ set(schema.names))
        if odd:
            raise RosdError(
                f"table {table}: the columns {', '.join(odd)} are missing or unknown "
                f"(see `rosd schema {table}`)."
            )
    try:
        columns = [_column([row[f.name] for row in rows], f.type) for f in schema]
        made = pa.Table.from_arrays(columns, schema=schema)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as error:
        raise RosdError(f"table {table}: a value does not fit its column: {error}") from None
    _refuse_nulls(table, made)
    return made


def _column(values: list[Any], kind: pa.DataType) -> pa.Array:
    """Values as an arrow array; (N, K) arrays as lists of lists without a Python object each."""
    if not (pa.types.is_list(kind) and pa.types.is_list(kind.value_type)):
        return pa.array(values, kind)
    if not any(isinstance(value, np.ndarray) for value in values):
        return pa.array(values, kind)
    outer = np.cumsum([0, *(len(value) for value in values)], dtype=np.int32)
    sizes = [np.full(len(v), np.shape(v)[1], np.int32) for v in values if len(v)]
    inner = np.cumsum(np.concatenate([np.zeros(1, np.int32), *sizes]), dtype=np.int32)
    flat = [np.reshape(value, -1) for value in values if len(value)]
    flat = pa.array(np.concatenate(flat) if flat else [], kind.value_type.value_type)
    rows = pa.ListArray.from_arrays(inner, flat, kind.value_type)
    return pa.ListArray.from_arrays(outer, rows, kind)


def _values(column: pa.ChunkedArray) -> list[Any]:
    """One value per row: lists of floats as arrays, lists of lists as (N, K) arrays."""
    array, kind = column.combine_chunks(), column.type
    if not pa.types.is_list(kind) or pa.types.is_integer(kind.value_type):
        return array.to_pylist()
    start = array.offsets.to_numpy()
    if not pa.types.is_list(kind.value_type):
        flat = array.values.to_numpy(zero_copy_only=False)
        return [flat[a:b] for a, b in pairwise(start)]
    inner = array.values.offsets.to_numpy()
    flat = array.values.values.to_numpy(zero_copy_only=False)
    pieces = ((flat[inner[a] : inner[b]], b - a) for a, b in pairwise(start))
    return [piece.reshape(tokens, -1) if tokens else () for piece, tokens in pieces]


def row_groups(table: str, path: Path) -> Iterator[list[dict[str, Any]]]:
    """The rows of a table, row group by row group: memory holds one of them. Lists of floats come
    as arrays.
    """
    check_schema(table, path)
    with pq.ParquetFile(path) as file:
        for number in range(file.num_row_groups):
            group = file.read_row_group(number)
            names = group.column_names
            values = zip(*(_values(group[name]) for name in names), strict=True)
            yield [dict(zip(names, row, strict=True)) for row in values]


def _refuse_nulls(table: str, made: pa.Table) -> None:
    for field in SCHEMAS[table]:
        if not field.nullable and made[field.name].null_count:
            raise RosdError(
                f"table {table}: column {field.name} holds nulls, which its schema does not allow."
            )


def file_format(table: str) -> dict[str, Any]:
    """How Parquet files are written. Floats are split by byte, so that their exponents compress (a
    third less for log-probabilities); all else has dictionaries.
    """
    leaves = []
    for field in SCHEMAS[table]:
        name, kind = field.name, field.type
        while pa.types.is_list(kind):
            name, kind = f"{name}.list.element", kind.value_type
        leaves.append((name, pa.types.is_floating(kind)))
    floats = [name for name, split in leaves if split]
    others = [name for name, split in leaves if not split]
    return {"compression": "zstd", "use_byte_stream_split": floats, "use_dictionary": others}


def write_table(table: str, data: pa.Table, path: Path) -> None:
    """Write one table atomically."""
    with replacing(path) as temporary:
        pq.write_table(data, temporary, row_group_size=ROW_GROUP, **file_format(table))


def check_schema(table: str, path: Path) -> None:
    """Refuse a missing file, a file that is not Parquet and columns other than the schema's."""
    if not path.is_file():
        raise RosdError(
            f"{path}: no such table. The stage before writes it: `dvc repro` runs what is missing."
        )
    try:
        found = pq.read_schema(path)
    except pa.ArrowInvalid:
        raise RosdError(f"{path}: not a Parquet file. Delete it and run `dvc repro`.") from None
    want, see = SCHEMAS[table], f"(see `rosd schema {table}`)"
    for name in want.names:
        if name not in found.names:
            raise RosdError(f"{path}: not a {table} table: column {name} is missing {see}.")
    for field in found:
        if field.name not in want.names:
            raise RosdError(f"{path}: column {field.name} is not part of table {table} {see}.")
        kind = want.field(field.name).type
        if field.type != kind:
            raise RosdError(f"{path}: column {field.name} is {field.type}; {table} wants {kind}.")


def read_table(table: str, path: Path, columns: list[str] | None = None) -> pl.DataFrame:
    """A table (or some of its columns) as a polars frame, refused where it does not match its
    schema or holds no row.
    """
    check_schema(table, path)
    frame = pl.read_parquet(path, columns=columns)
    if frame.is_empty():
        raise RosdError(f"{path}: the table has no rows, so there is nothing for this stage to do.")
    return frame


def read_rows(table: str, path: Path, ids: Sequence[str]) -> pl.DataFrame:
    """The rows with these rollout ids, in the order of the table; the others are never held."""
    check_schema(table, path)
    wanted = pl.col("rollout_id").is_in(list(ids))
    return pl.scan_parquet(path).filter(wanted).collect(engine="streaming")


def join_rows(
    left: pl.DataFrame, right: pl.DataFrame
) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Pairs of rows with the same rollout_id, in the order of `left`. Raises RosdError for a row
    without its partner.
    """
    partner = {row["rollout_id"]: row for row in right.iter_rows(named=True)}
    pairs = []
    for row in left.iter_rows(named=True):
        if row["rollout_id"] not in partner:
            raise RosdError(
                f"rollout {row['rollout_id']}: in one table and not in the other; "
                "they are of different runs."
            )
        pairs.append((row, partner[row["rollout_id"]]))
    return pairs


def read_csv(path: Path) -> pl.DataFrame:
    """A CSV written by a stage. Raises RosdError where it is missing."""
    if not path.is_file():
        raise RosdError(
            f"{path}: no such file. The stage before writes it: `dvc repro` runs what is missing."
        )
    return pl.read_csv(path)
