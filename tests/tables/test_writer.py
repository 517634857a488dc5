"""Row groups that are bounded, whatever the rows are and however they come."""

from array import array
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rosd_core.errors import RosdError
from rosd_core.tables import writer as writers
from rosd_core.tables.io import to_arrow, to_rows, write_table
from rosd_core.tables.lookup import RowReader
from rosd_core.tables.shards import write_shards
from rosd_core.tables.writer import table_writer
from rosd_core.workers.pool import Workers
from tests.show.support import rollout

FEW = settings(max_examples=25)  # each writes a file


def rows_of(tokens):
    """A rollout of each length; 12 bytes a token in lists alone."""
    lists = ("response_ids", "behaviour_logp", "student_logp")
    rows = [rollout(n, "1+1=2", True) for n in range(len(tokens))]
    return [row | {name: row[name][:1] * size for name in lists}
            for row, size in zip(rows, tokens, strict=True)]  # fmt: skip


def groups(path):
    with pq.ParquetFile(path) as file:
        return [file.read_row_group(n) for n in range(file.num_row_groups)]


@FEW
@given(st.lists(st.integers(0, 400), min_size=1, max_size=30), st.integers(1, 10))
def test_groups_are_bounded_by_rows_and_bytes(tokens, batch):
    rows = rows_of(tokens)
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(writers, "ROW_GROUP", 7)
        patch.setattr(writers, "GROUP_BYTES", 5000)
        path = Path(folder) / "rollouts.parquet"
        with table_writer("rollouts", path) as writer:
            for start in range(0, len(rows), batch):
                writer.add(to_arrow("rollouts", rows[start : start + batch]))
        found = groups(path)
    start, whole = 0, to_arrow("rollouts", rows)
    for group in found:
        assert len(group) <= 7
        assert whole.slice(start, len(group)).nbytes <= 5000 or len(group) == 1
        start += len(group)
    assert pa.concat_tables(found).equals(whole)


@FEW
@given(st.integers(1, 40), st.integers(1, 15))
def test_a_table_that_comes_in_parts_has_the_bytes_of_a_whole_one(count, batch):
    rows = rows_of([3] * count)
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(writers, "ROW_GROUP", 10)
        whole, parts = Path(folder) / "whole.parquet", Path(folder) / "parts.parquet"
        write_table("rollouts", rows, whole)
        with table_writer("rollouts", parts) as writer:
            for start in range(0, count, batch):
                writer.add(to_arrow("rollouts", rows[start : start + batch]))
        assert parts.read_bytes() == whole.read_bytes()


def test_a_large_shard_becomes_several_groups(tmp_path, monkeypatch):
    monkeypatch.setattr(writers, "GROUP_BYTES", 40_000)
    rows, path = rows_of([1000] * 8), tmp_path / "rollouts.parquet"  # 12,000 bytes a row and more
    write_shards(
        "rollouts", path, rows, 4, lambda report: lambda shard: shard, Workers(), tmp_path / "kept"
    )
    assert [len(group) for group in groups(path)] == [2, 2, 2, 2]


def test_an_error_or_a_key_that_comes_again_leaves_no_table(tmp_path):
    path, rows = tmp_path / "rollouts.parquet", to_arrow("rollouts", rows_of([1, 2]))
    with pytest.raises(KeyboardInterrupt), table_writer("rollouts", path) as writer:
        writer.add(rows)
        raise KeyboardInterrupt
    again = r"rollouts.parquet: rollout_id chain-train-00001/0 is there twice"
    with pytest.raises(RosdError, match=again), table_writer("rollouts", path) as writer:
        writer.add(rows)
        writer.add(rows.slice(0, 1))
    assert list(tmp_path.iterdir()) == []


@FEW
@given(st.data())
def test_rows_are_found_in_whichever_group_they_are(data):
    count = data.draw(st.integers(1, 12))
    rows = rows_of([n + 1 for n in range(count)])
    wanted = data.draw(st.sets(st.integers(0, count + 2)))
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(writers, "ROW_GROUP", data.draw(st.integers(1, 13)))
        path = Path(folder) / "rollouts.parquet"
        write_table("rollouts", rows, path)
        reader = RowReader("rollouts", path)
        names = [f"chain-train-00001/{n}" for n in sorted(wanted, reverse=True)]
        found = reader.read(names, ["response_ids", "rollout_id"])
        batches = list(reader.batches(reader.usual_rows))
    there = [rows[n] for n in sorted(wanted) if n < count]
    assert [row["rollout_id"] for row in found] == [row["rollout_id"] for row in there]
    assert [list(row["response_ids"]) for row in found] == [row["response_ids"] for row in there]
    assert [name for batch in batches for name in batch] == [row["rollout_id"] for row in rows]


def test_lists_of_numbers_hold_no_object_per_token():
    table = to_arrow("rollouts", rows_of([3, 0]))
    rows = to_rows(table)
    assert [type(row["response_ids"]) for row in rows] == [array, array]
    assert rows[1]["behaviour_logp"].shape == (0,)
    assert to_arrow("rollouts", rows).equals(table)
