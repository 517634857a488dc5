"""Reading and writing the tables: a mismatch with the schema is refused, and a table appears under
its name only when it is whole.
"""

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import polars as pl
import pyarrow as pa

from rosd_core.errors import RosdError
from rosd_core.tables.atomic import Publication, replacing
from rosd_core.tables.finite import refuse_bad_numbers
from rosd_core.tables.keys import KEYS, refuse_duplicates
from rosd_core.tables.origin import Origin
from rosd_core.tables.parquet import read_frame, read_where, verified
from rosd_core.tables.schemas import SCHEMAS
from rosd_core.tables.writer import table_writer

Row = TypeVar("Row", bound=Any)


def to_arrow(table: str, rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Rows as an arrow table of the named schema. Raises RosdError naming the column that does not
    fit, and the row of a number that is not finite.
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
        columns = [_to_column([row[f.name] for row in rows], f.type) for f in schema]
        arrow = pa.Table.from_arrays(columns, schema=schema)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as error:
        raise RosdError(f"table {table}: a value does not fit its column: {error}") from None
    _refuse_nulls(table, arrow)
    refuse_bad_numbers(table, arrow)
    return arrow


def _refuse_nulls(table: str, arrow: pa.Table) -> None:
    for field in SCHEMAS[table]:
        if not field.nullable and arrow[field.name].null_count:
            raise RosdError(
                f"table {table}: column {field.name} holds nulls, which its schema does not allow."
            )


def _to_column(values: list[Any], arrow_type: pa.DataType) -> pa.Array:
    """Values as an arrow array; (N, K) arrays become lists of lists without Python objects."""
    nested = pa.types.is_list(arrow_type) and pa.types.is_list(arrow_type.value_type)
    if not nested or not any(isinstance(value, np.ndarray) for value in values):
        plain = (np.asarray(value) if isinstance(value, array) else value for value in values)
        return pa.array(list(plain), arrow_type)
    outer = np.cumsum([0, *(len(value) for value in values)], dtype=np.int32)
    sizes = [np.full(len(v), np.shape(v)[1], np.int32) for v in values if len(v)]
    inner = np.cumsum(np.concatenate([np.zeros(1, np.int32), *sizes]), dtype=np.int32)
    flat = [np.reshape(value, -1) for value in values if len(value)]
    flat = pa.array(np.concatenate(flat) if flat else [], arrow_type.value_type.value_type)
    lists = pa.ListArray.from_arrays(inner, flat, arrow_type.value_type)
    return pa.ListArray.from_arrays(outer, lists, arrow_type)


def to_rows(rows: pa.Table) -> list[dict[str, Any]]:
    """Rows as Python sees them: lists of integers as `array`s, lists of floats as numpy arrays,
    lists of lists as (N, K) ones. None of them holds a Python object per token.
    """
    values = zip(*(_from_column(column) for column in rows.columns), strict=True)
    return [dict(zip(rows.column_names, row, strict=True)) for row in values]


def _from_column(column: pa.ChunkedArray) -> list[Any]:
    """One value per row, see `to_rows`."""
    values, inner_type = column.combine_chunks(), getattr(column.type, "value_type", pa.null())
    nested = pa.types.is_list(inner_type)
    number = inner_type.value_type if nested else inner_type
    if not pa.types.is_integer(number) and not pa.types.is_floating(number):
        return values.to_pylist()
    start = values.offsets.to_numpy()
    if not nested:
        flat = values.values.to_numpy(zero_copy_only=False)
        pieces = (flat[a:b] for a, b in pairwise(start))
        return [array("i", p.tobytes()) if p.dtype == np.intc else p for p in pieces]
    inner = values.values.offsets.to_numpy()
    flat = values.values.values.to_numpy(zero_copy_only=False)
    pieces = ((flat[inner[a] : inner[b]], b - a) for a, b in pairwise(start))
    return [piece.reshape(tokens, -1) if tokens else () for piece, tokens in pieces]


def row_groups(table: str, path: Path) -> Iterator[list[dict[str, Any]]]:
    """The rows of a table (see `to_rows`), one row group at a time, which is all that memory
    holds.
    """
    read_table(table, path, KEYS[table])
    with verified(path) as file:
        for number in range(file.num_row_groups):
            group = file.read_row_group(number)
            refuse_bad_numbers(table, group, path)
            yield to_rows(group)


def write_table(
    table: str,
    rows: Sequence[Mapping[str, Any]],
    path: Path,
    together: Publication | None = None,
    origin: Origin | None = None,
) -> Path:
    """Write rows as one table, atomically, with its origin (or that of `together`). Returns where
    it can be read now: under a temporary name until `together` is published.
    """
    with table_writer(table, path, together, origin) as writer:
        writer.add(to_arrow(table, rows))
    return path if together is None else together.written[path]


def check_schema(table: str, path: Path) -> None:
    """Refuse a missing file, a file that is not Parquet and columns other than the schema's."""
    _refuse_missing(path, "table")
    with verified(path) as file:
        found = file.schema_arrow
    schema, see = SCHEMAS[table], f"(see `rosd schema {table}`)"
    for name in schema.names:
        if name not in found.names:
            raise RosdError(f"{path}: not a {table} table: column {name} is missing {see}.")
    for field in found:
        if field.name not in schema.names:
            raise RosdError(f"{path}: column {field.name} is not part of table {table} {see}.")
        expected = schema.field(field.name).type
        if field.type != expected:
            raise RosdError(
                f"{path}: column {field.name} is {field.type}; {table} wants {expected}."
            )


def _refuse_missing(path: Path, what: str) -> None:
    if not path.is_file():
        raise RosdError(
            f"{path}: no such {what}. The stage before writes it: `dvc repro` runs what is missing."
        )


def read_table(table: str, path: Path, columns: list[str] | None = None) -> pl.DataFrame:
    """A table (or some of its columns) as a polars frame, refused where it is damaged, does not
    match its schema, holds no row, or two with the same key.
    """
    check_schema(table, path)
    key = KEYS[table]
    frame = read_frame(path, columns and list(dict.fromkeys([*columns, *key])))
    if frame.is_empty():
        raise RosdError(f"{path}: the table has no rows, so there is nothing for this stage to do.")
    refuse_duplicates(frame, key, str(path))
    return frame.select(columns) if columns else frame


def read_rows(
    table: str, path: Path, ids: Sequence[str], columns: Sequence[str] | None = None
) -> pl.DataFrame:
    """The rows with these rollout ids, in the order of the table; others are not kept in memory,
    nor are other columns where some are named, rollout_id among them.
    """
    check_schema(table, path)
    return read_where(path, "rollout_id", ids, columns)


def join_rows(left: Iterable[Row], right: Iterable[Row]) -> list[tuple[Row, Row]]:
    """Pairs of rows with the same rollout_id, in the order of `left`. Raises RosdError for a row
    without its partner.
    """
    partner = {row["rollout_id"]: row for row in right}
    pairs = []
    for row in left:
        if row["rollout_id"] not in partner:
            raise RosdError(
                f"rollout {row['rollout_id']} is missing in a table that should have it. "
                "The tables are of different runs: `dvc repro` renews them."
            )
        pairs.append((row, partner[row["rollout_id"]]))
    return pairs


def read_csv(path: Path) -> pl.DataFrame:
    """A CSV written by a stage. Raises RosdError where it is missing."""
    _refuse_missing(path, "file")
    return pl.read_csv(path)


def write_csv(
    frame: pl.DataFrame,
    path: Path,
    precision: int,
    scientific: bool = False,
    together: Publication | None = None,
) -> None:
    """Write a CSV atomically, floats with `precision` digits."""
    with replacing(path, together) as temporary:
        frame.write_csv(temporary, float_precision=precision, float_scientific=scientific)
