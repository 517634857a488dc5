import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rosd_core.errors import RosdError
from rosd_core.tables.io import join_rows, read_table, to_arrow, write_table
from rosd_core.tables.shards import write_shards
from rosd_core.workers.pool import Workers

ROW = {
    "problem_id": "p", "domain": "d", "split": "train", "system": None, "prompt": "1+1?",
    "answer": "2", "solution": None, "grader": "answer_line", "grader_data": None, "task": "pocket",
}  # fmt: skip


def test_what_is_written_is_read(tmp_path):
    write_table("problems", [ROW], tmp_path / "problems.parquet")
    assert read_table("problems", tmp_path / "problems.parquet").to_dicts() == [ROW]


@pytest.mark.parametrize(
    ("rows", "part"),
    [
        ([ROW | {"answer": None}], "column answer holds nulls"),
        ([ROW | {"answer": 3}], "does not fit"),
        ([{k: v for k, v in ROW.items() if k != "grader"}], "grader are missing or unknown"),
        ([ROW | {"more": 1}], "more are missing or unknown"),
    ],
)
def test_rows_that_do_not_fit_are_refused(rows, part):
    with pytest.raises(RosdError, match=part):
        to_arrow("problems", rows)


def test_files_that_do_not_fit_are_refused(tmp_path):
    path = tmp_path / "t.parquet"
    with pytest.raises(RosdError, match="no such table"):
        read_table("problems", path)
    path.write_text("not parquet")
    with pytest.raises(RosdError, match="not a Parquet file"):
        read_table("problems", path)
    pl.DataFrame([ROW]).drop("prompt").write_parquet(path)
    with pytest.raises(RosdError, match="column prompt is missing"):
        read_table("problems", path)
    table = to_arrow("problems", [ROW])
    pq.write_table(
        table.set_column(table.schema.get_field_index("answer"), "answer", pa.array([2])), path
    )
    with pytest.raises(RosdError, match="column answer is int64; problems wants string"):
        read_table("problems", path)
    pq.write_table(table.append_column("more", pa.array([1])), path)
    with pytest.raises(RosdError, match="column more is not part"):
        read_table("problems", path)
    pq.write_table(table.slice(0, 0), path)
    with pytest.raises(RosdError, match="no rows"):
        read_table("problems", path)


def test_shards_come_in_order_one_row_group_each(tmp_path):
    path = tmp_path / "problems.parquet"
    items = [ROW | {"problem_id": i} for i in "abcde"]
    write_shards(
        "problems", path, items, 2, lambda report: lambda shard: shard, Workers(), tmp_path / "kept"
    )
    assert read_table("problems", path)["problem_id"].to_list() == list("abcde")
    assert pq.ParquetFile(path).num_row_groups == 3


def test_shards_that_were_done_are_not_done_again(tmp_path):
    """Stopped at the third of four shards, and again at the fourth: the table is that of a run that
    was not stopped, byte by byte, and every shard is done once.
    """
    items = [ROW | {"problem_id": str(n)} for n in range(7)]
    done = []

    def opened_until(stop):
        def work(shard):
            if shard[0]["problem_id"] == stop:
                raise KeyboardInterrupt
            done.append(shard[0]["problem_id"])
            return shard

        return lambda report: work

    def run(stop, name="resumed"):
        path, kept = tmp_path / f"{name}.parquet", tmp_path / f"kept-{name}"
        write_shards("problems", path, items, 2, opened_until(stop), Workers(), kept)
        return path

    for stop in ("4", "6"):
        with pytest.raises(KeyboardInterrupt):
            run(stop)
        assert not (tmp_path / "resumed.parquet").exists()
    resumed = run(None)
    assert done == ["0", "2", "4", "6"]
    assert resumed.read_bytes() == run(None, "whole").read_bytes()
    resumed.unlink()
    shard = tmp_path / "kept-resumed" / "shard-000002.parquet"
    shard.write_bytes(shard.read_bytes()[:-9])  # cut off: done again
    done.clear()
    assert run(None).read_bytes() == (tmp_path / "whole.parquet").read_bytes()
    assert done == ["2"]


def test_an_interrupted_run_leaves_the_old_table(tmp_path):
    path = tmp_path / "problems.parquet"
    write_table("problems", [ROW], path)

    def work(shard):
        if shard[0]["problem_id"] == "b":
            raise KeyboardInterrupt
        return shard

    with pytest.raises(KeyboardInterrupt):
        items = [ROW | {"problem_id": i} for i in "ab"]
        write_shards("problems", path, items, 1, lambda report: work, Workers(), tmp_path / "kept")
    assert read_table("problems", path)["problem_id"].to_list() == ["p"]
    assert sorted(f.name for f in tmp_path.iterdir()) == ["kept", "problems.parquet"]


def test_nothing_to_do_is_said(tmp_path):
    with pytest.raises(RosdError, match="no row is eligible"):
        path = tmp_path / "x.parquet"
        write_shards(
            "problems", path, [], 1, lambda report: lambda shard: [], Workers(), tmp_path / "kept"
        )


def test_rows_without_partner_are_refused():
    left = [{"rollout_id": "a"}, {"rollout_id": "b"}]
    with pytest.raises(RosdError, match="rollout b"):
        join_rows(left, left[:1])


def test_a_key_that_is_there_twice_is_refused(tmp_path):
    path, twice = tmp_path / "problems.parquet", [ROW, ROW | {"answer": "3"}]
    with pytest.raises(RosdError, match=r"problems.parquet: problem_id p is there twice"):
        write_table("problems", twice, path)
    with pytest.raises(RosdError, match="problem_id p is there twice"):
        kept = tmp_path / "kept"
        write_shards("problems", path, twice, 1, lambda report: lambda s: s, Workers(), kept)
    assert not path.exists()
    pq.write_table(to_arrow("problems", twice), path)
    with pytest.raises(RosdError, match="problem_id p is there twice"):
        read_table("problems", path, ["answer"])
