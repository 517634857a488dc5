"""Broken params, data files, tables and reflections: a message, never another exception.

`pytest tests/faults/test_fuzz.py --hypothesis-profile=thorough` tries 10,000 of them.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from rosd_core.align.rows import find_quotes
from rosd_core.config.load import load_params
from rosd_core.errors import RosdError
from rosd_core.reflect.parse import parse_constrained, parse_reflection
from rosd_core.tables.io import read_table
from rosd_core.tables.user_file import read_user_file, read_user_parts
from tests.support import ROOT

shared = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
SHIPPED = (ROOT / "params.yaml").read_text(encoding="utf-8")
VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20),
    st.lists(st.integers(), max_size=3), st.dictionaries(st.text(max_size=5), st.integers()),
)  # fmt: skip
JSON = st.recursive(VALUES, lambda inner: st.lists(inner, max_size=3), max_leaves=5)


def paths_of(data: dict, before: tuple = ()) -> list[tuple]:
    """Every key of nested mappings, as a path."""
    found = []
    for key, value in data.items():
        found.append((*before, key))
        if isinstance(value, dict):
            found += paths_of(value, (*before, key))
    return found


PARAMS = YAML(typ="safe").load(SHIPPED)
KEYS = paths_of(PARAMS)


@shared
@given(st.sampled_from(KEYS), VALUES, st.sampled_from(["set", "delete", "rename"]))
def test_params_with_a_wrong_value_or_key(tmp_path, path, value, how):
    data = YAML(typ="safe").load(SHIPPED)
    at = data
    for key in path[:-1]:
        at = at[key]
    old = at.pop(path[-1])
    if how != "delete":
        at[path[-1] if how == "set" else str(value)] = value if how == "set" else old
    file = tmp_path / "params.yaml"
    with file.open("w", encoding="utf-8") as stream:
        YAML(typ="safe").dump(data, stream)
    load(file)


@shared
@given(st.data())
def test_params_with_flipped_bytes(tmp_path, data):
    text = bytearray(SHIPPED.encode())
    for _ in range(data.draw(st.integers(1, 5))):
        text[data.draw(st.integers(0, len(text) - 1))] = data.draw(st.integers(0, 255))
    file = tmp_path / "params.yaml"
    file.write_bytes(bytes(text))
    load(file)


def load(file: Path) -> None:
    try:
        load_params(file)
    except RosdError as error:
        assert str(file) in str(error)


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
@shared
@given(data=st.data())
def test_data_files_with_flipped_bytes(tmp_path, suffix, data):
    rows = [{"question": f"{n}+{n}?", "answer": str(2 * n), "more": n / 3} for n in range(5)]
    frame, file = pl.DataFrame(rows), tmp_path / f"data{suffix}"
    writers = {".jsonl": frame.write_ndjson, ".csv": frame.write_csv}
    writers.get(suffix, frame.write_parquet)(file)
    content = bytearray(file.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, 10))
    file.write_bytes(bytes(content[: len(content) - cut]))
    read_both_ways(file)


@shared
@given(st.lists(JSON, min_size=1, max_size=4), st.binary(max_size=10))
def test_lines_of_any_json(tmp_path, values, end):
    file = tmp_path / "data.jsonl"
    text = "\n".join(json.dumps(value) for value in values).encode("utf-8", "surrogatepass")
    file.write_bytes(text + b"\n" + end)
    read_both_ways(file)


def read_both_ways(file):
    for read in (read_user_file, lambda *names: list(read_user_parts(*names))):
        try:
            read(str(file), "prepare.domains.mine.train_file")
        except RosdError as error:
            assert str(file) in str(error)


@pytest.fixture(scope="module")
def tables(scored_once):
    return {
        "problems": scored_once / "data" / "problems.parquet",
        **{
            name: scored_once / "iterations" / "i1" / f"{name}.parquet"
            for name in ("rollouts", "reflections", "alignments", "scores")
        },
    }


@shared
@given(data=st.data())
def test_tables_with_other_columns_or_values(tables, tmp_path, data):
    """A column dropped, doubled under another name, of another type, or with rows repeated."""
    name = data.draw(st.sampled_from(sorted(tables)))
    table = pq.read_table(tables[name])
    column = data.draw(st.sampled_from(table.column_names))
    at, how = table.column_names.index(column), data.draw(st.sampled_from(HOW))
    if how == "drop":
        table = table.remove_column(at)
    elif how == "rename":
        names = list(table.column_names)
        names[at] = data.draw(st.text(min_size=1, max_size=8).filter(lambda n: n not in names))
        table = table.rename_columns(names)
    elif how == "nulls":
        table = table.set_column(at, column, pa.nulls(len(table), table.schema.field(at).type))
    elif how == "type":
        table = table.set_column(at, column, pa.array(["text"] * len(table)))
    else:
        table = pa.concat_tables([table, table.slice(0, data.draw(st.integers(0, 2)))])
    file = tmp_path / f"{name}.parquet"
    pq.write_table(table, file)
    try:
        read_table(name, file)
    except RosdError as error:
        assert str(file) in str(error)


HOW = ["drop", "rename", "nulls", "type", "repeat"]


@shared
@given(data=st.data())
def test_tables_with_flipped_bytes(tables, tmp_path, data):
    name = data.draw(st.sampled_from(sorted(tables)))
    file = tmp_path / f"{name}.parquet"
    shutil.copy(tables[name], file)
    content = bytearray(file.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    file.write_bytes(bytes(content))
    try:
        read_table(name, file)
    except RosdError as error:
        assert str(file) in str(error)


PIECES = st.lists(
    st.one_of(
        st.text(max_size=30),
        st.sampled_from(
            ["<error_quote>", "</error_quote>", "<idea>", "</idea>", "**", "```", "<think>", "{",
             '"quote":', "...", "[", "\\", "\u202e", "12+30=42", "Answer: 7", "\x00"]
        ),
    ),
    max_size=12,
).map("".join)  # fmt: skip


@given(PIECES, PIECES, st.sampled_from(["wrong", "correct"]), st.sampled_from(["stop", "length"]))
def test_reflections_of_any_text(raw, response, kind, finish_reason):
    """Whatever a reflector writes about whatever response: a status, and places inside of it."""
    found = parse_reflection(raw, kind, finish_reason)
    parse_constrained(raw, response, finish_reason)
    row: Any = {"quotes": list(found.quotes), "raw": raw}
    places: list[Any]
    places, _ = find_quotes(row, response, 80)
    assert len(places) == len(found.quotes)
    for place in places:
        if place["match"] != "none":
            assert 0 <= place["char_start"] < place["char_end"] <= len(response)
