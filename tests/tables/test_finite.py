import json
import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rosd_core.errors import RosdError
from rosd_core.tables.atomic import write_json
from rosd_core.tables.finite import refuse_bad_numbers
from rosd_core.tables.io import to_arrow, write_table
from tests.score.test_token_means import row

LOGPS = pa.list_(pa.float32())


def two(column, value):
    """Two rows, of which the second holds `value` in a column."""
    rows = [row("wrong", [0, 1], [0.5, 0.5], [1.0, 1.0]) for _ in range(2)]
    rows[1] |= {"rollout_id": "p/1", column: value}
    return rows


@pytest.mark.parametrize(
    ("column", "value", "shown"),
    [
        ("behaviour_logp", [-1.0, -math.inf], "-inf"),
        ("student_logp", [-1.0, math.nan], "nan"),
        ("support_logp", [[-1.0, -2.0], [-3.0, 0.5]], "0.5"),
        ("support_logp", np.array([[-1.0, -2.0], [math.nan, -0.5]], np.float32), "nan"),
        ("tail_logp", [0.25, -1.0], "0.25"),
        ("divergence", [0.0, math.inf], "inf"),
        ("weight", math.nan, "nan"),
        ("idea_gain", math.inf, "inf"),
    ],
)
def test_the_row_and_the_column_are_named(column, value, shown):
    message = rf"table scores: rollout_id p/1: column {column} holds {shown}\. "
    with pytest.raises(RosdError, match=message):
        to_arrow("scores", two(column, value))


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("support_logp", [[-1.0, -math.inf]] * 2),  # an id that the teacher rules out
        ("support_logp", [[1e-6, -1.0]] * 2),  # rounding
        ("divergence", [5.0, 5.0]),  # no log-probability
        ("idea_gain", None),
        ("tail_logp", []),
    ],
)
def test_what_may_be(column, value):
    assert to_arrow("scores", two(column, value)).num_rows == 2


@given(st.lists(st.lists(st.lists(st.just(-1.0), max_size=3), max_size=3), max_size=5), st.data())
def test_the_row_of_a_number_in_nested_lists(rows, data):
    """Also where rows and inner lists are empty."""
    places = [
        (r, n, k)
        for r, lists in enumerate(rows)
        for n, inner in enumerate(lists)
        for k in range(len(inner))
    ]
    columns = {"rollout_id": [f"row{r}" for r in range(len(rows))]}
    types = pa.schema([("rollout_id", pa.string()), ("support_logp", pa.list_(LOGPS))])
    refuse_bad_numbers("scores", pa.table(columns | {"support_logp": rows}, schema=types))
    if places:
        r, n, k = data.draw(st.sampled_from(places))
        rows[r][n][k] = math.nan
        table = pa.table(columns | {"support_logp": rows}, schema=types)
        with pytest.raises(RosdError, match=f"rollout_id row{r}: "):
            refuse_bad_numbers("scores", table)
        with pytest.raises(RosdError, match=f"rollout_id row{r}: "):  # a slice has offsets
            refuse_bad_numbers("scores", table.slice(r))


def test_json_has_null_for_what_is_no_number(tmp_path):
    data = {"a": math.nan, "b": [math.inf, 1.0], "c": {"d": (-math.inf, "x")}, "e": True}
    write_json(tmp_path / "m.json", data)
    text = (tmp_path / "m.json").read_text()
    assert json.loads(text, parse_constant=pytest.fail) == {
        "a": None,
        "b": [None, 1.0],
        "c": {"d": [None, "x"]},
        "e": True,
    }


def test_a_table_that_is_refused_leaves_no_file(tmp_path):
    with pytest.raises(RosdError):
        write_table("scores", two("weight", math.nan), tmp_path / "scores.parquet")
    assert list(tmp_path.iterdir()) == []
