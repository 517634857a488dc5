"""Fields of the tables: types, and the columns that several tables have."""

import pyarrow as pa


def field(
    name: str, arrow_type: pa.DataType, unit: str, text: str, *, nullable: bool = False
) -> pa.Field:
    return pa.field(name, arrow_type, nullable, {"unit": unit, "description": text})


def schema(*fields: pa.Field) -> pa.Schema:
    return pa.schema(list(fields))


STR, INT, FLOAT, BOOL = pa.string(), pa.int32(), pa.float32(), pa.bool_()
IDS, LOGPS = pa.list_(pa.int32()), pa.list_(pa.float32())
ROLLOUT_ID = field("rollout_id", STR, "id", "problem_id/sample: one sampled response")
PROBLEM_ID = field("problem_id", STR, "id", "the problem it answers")
SHORTENED = field(
    "shortened",
    STR,
    "JSON",
    "characters left out of the middle of each part to make the prompt fit; null: none",
    nullable=True,
)
