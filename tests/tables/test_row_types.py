"""The rows that Python sees have the columns of the schemas, with the same types."""

from typing import get_args, get_type_hints

import pyarrow as pa
import pytest

from rosd_core.tables.row_types import ROW_TYPES, Message, QuotePlace
from rosd_core.tables.schemas import SCHEMAS

SCALARS = {str: pa.types.is_string, int: pa.types.is_integer, float: pa.types.is_floating,
           bool: pa.types.is_boolean, bytes: pa.types.is_large_binary}  # fmt: skip


@pytest.mark.parametrize("table", SCHEMAS)
def test_a_row_has_the_columns_of_its_table(table):
    hints, schema = get_type_hints(ROW_TYPES[table]), SCHEMAS[table]
    assert set(hints) == set(schema.names)
    for field in schema:
        hint = hints[field.name]
        assert (type(None) in get_args(hint)) == field.nullable, field.name
        for scalar, is_type in SCALARS.items():
            if hint in (scalar, scalar | None):
                assert is_type(field.type), field.name
        if pa.types.is_list(field.type):
            assert "Sequence" in str(hint), field.name


@pytest.mark.parametrize(
    ("row", "table", "column"),
    [(Message, "reflections", "messages"), (QuotePlace, "alignments", "quotes")],
)
def test_nested_rows_too(row, table, column):
    struct = SCHEMAS[table].field(column).type.value_type
    assert list(get_type_hints(row)) == [struct.field(n).name for n in range(struct.num_fields)]
