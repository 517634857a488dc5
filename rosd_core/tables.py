"""Reading and writing the tables: a mismatch is refused, nothing is half-written under its final
name.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from rosd_core.errors import RosdError
from rosd_core.schemas import SCHEMAS

ROW_GROUP = 4096


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it takes that name, on failure it goes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


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
        made = pa.Table.from_pylist(list(rows), schema)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as error:
        raise RosdError(f"table {table}: a value does not fit its column: {error}") from None
    _refuse_nulls(table, made)
    return made


def _refuse_nulls(table: str, made: pa.Table) -> None:
    for field in SCHEMAS[table]:
        if not field.nullable and made[field.name].null_count:
            raise RosdError(
                f"table {table}: column {field.name} holds nulls, which its schema does not allow."
            )


def write_table(table: str, data: pa.Table, path: Path) -> None:
    """Write one table atomically."""
    with replacing(path) as temporary:
        pq.write_table(data, temporary, compression="zstd", row_group_size=ROW_GROUP)


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


def read_table(table: str, path: Path) -> pl.DataFrame:
    """A table as a polars frame, refused where it does not match its schema or holds no row."""
    check_schema(table, path)
    frame = pl.read_parquet(path)
    if frame.is_empty():
        raise RosdError(f"{path}: the table has no rows, so there is nothing for this stage to do.")
    return frame


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
