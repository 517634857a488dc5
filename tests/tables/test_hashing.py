"""Hashes of a table's values."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rosd_core.tables.hashing import table_hash

ROWS = pa.table(
    {
        "id": pa.array([f"r{n}" if n % 7 else None for n in range(200)]),
        "right": pa.array([n % 3 == 0 if n % 5 else None for n in range(200)]),
        "ids": pa.array([list(range(n % 4)) if n % 6 else None for n in range(200)]),
    }
)


def hash_of(tmp_path, rows, **options):
    pq.write_table(rows, tmp_path / "t.parquet", **options)
    return table_hash(tmp_path / "t.parquet")


@pytest.mark.parametrize("size", [1, 7, 64, 100, 200])
def test_how_rows_are_grouped_and_packed_does_not_matter(tmp_path, size):
    plain = hash_of(tmp_path, ROWS)
    assert hash_of(tmp_path, ROWS, row_group_size=size, use_dictionary=False) == plain


def test_every_value_name_and_type_and_the_order_matter(tmp_path):
    column = ROWS["right"].to_pylist()
    others = [
        ROWS.slice(0, 199),
        ROWS.slice(0, 128),
        ROWS.slice(0, 0),
        ROWS.take(list(reversed(range(200)))),
        ROWS.rename_columns(["id", "wrong", "ids"]),
        ROWS.set_column(1, "right", pa.array([*column[:-1], not column[-1]])),
        ROWS.set_column(1, "right", pa.array([None if v is None else int(v) for v in column])),
        ROWS,
    ]
    assert len({hash_of(tmp_path, rows) for rows in others}) == len(others)
