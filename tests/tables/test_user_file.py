"""Files of the user's that are read a part at a time."""

import polars as pl
import pytest

from rosd_core.errors import RosdError
from rosd_core.tables import user_file
from rosd_core.tables.user_file import read_user_file, read_user_parts

ROWS = pl.DataFrame(
    {"id": [f"r{n}" for n in range(200)], "text": ['a "b",\nc', "", "é", None] * 50},
    schema={"id": pl.String, "text": pl.String},
)


@pytest.fixture(params=[".jsonl", ".csv", ".parquet"])
def file(request, tmp_path, monkeypatch):
    monkeypatch.setattr(user_file, "PART_BYTES", 512)
    path = tmp_path / f"mine{request.param}"
    write = {".jsonl": ROWS.write_ndjson, ".csv": ROWS.write_csv, ".parquet": ROWS.write_parquet}
    write[request.param](path)
    return str(path)


def test_parts_have_the_rows_of_the_file_in_order(file):
    parts = list(read_user_parts(file, "rollout.file"))
    assert len(parts) > 2  # so no part is the file
    assert pl.concat(parts).equals(read_user_file(file, "rollout.file"))
    assert pl.concat(parts).equals(ROWS)


def test_a_file_that_is_missing_or_of_no_kind_is_refused_before_a_row_is_asked_for(tmp_path):
    with pytest.raises(RosdError, match=r"no\.csv: no such file \(rollout\.file\)"):
        read_user_parts(str(tmp_path / "no.csv"), "rollout.file")
    (tmp_path / "x.txt").touch()
    with pytest.raises(RosdError, match=r"x\.txt: unknown ending; there are: \.jsonl"):
        read_user_parts(str(tmp_path / "x.txt"), "rollout.file")
    (tmp_path / "x.jsonl").write_text('{"a": 1}\n{"a": \n')
    with pytest.raises(RosdError, match=r"x\.jsonl: line 2 is not JSON"):
        read_user_parts(str(tmp_path / "x.jsonl"), "rollout.file")


def test_a_row_of_other_width_is_named(tmp_path):
    file = tmp_path / "x.csv"
    file.write_text("a,b\n1,2\n3,4,5\n")
    with pytest.raises(RosdError, match=r"x\.csv: cannot be read \(rollout\.file\): .*3"):
        list(read_user_parts(str(file), "rollout.file"))


def test_a_row_of_csv_may_be_long_but_not_longer_than_a_part(tmp_path, monkeypatch):
    monkeypatch.setattr(user_file, "PART_BYTES", 3 << 20)
    file = tmp_path / "x.csv"
    file.write_text("a,b\n1," + "x" * (2 << 20) + "\n2,y\n3," + "z" * (2 << 20) + "\n")
    parts = pl.concat(read_user_parts(str(file), "rollout.file"))
    assert parts["b"].str.len_chars().to_list() == [2 << 20, 1, 2 << 20]
    file.write_text("a,b\n1,2\n3," + "z" * (8 << 20) + "\n")
    with pytest.raises(RosdError, match=r"a row has more than 3 MiB; write the file as JSON lines"):
        list(read_user_parts(str(file), "rollout.file"))


def test_numerals_in_a_csv_file_are_texts(tmp_path):
    """A response that says only `7` is a response."""
    file = tmp_path / "x.csv"
    file.write_text("prompt,response\nThree and four?,7\n")
    (part,) = read_user_parts(str(file), "rollout.file")
    assert part.row(0) == ("Three and four?", "7")


@pytest.mark.parametrize("text", ["", "\n\n", "a,b\n"])
def test_a_file_without_a_row_has_no_rows(tmp_path, text):
    name = "x.csv" if "a" in text else "x.jsonl"
    (tmp_path / name).write_text(text)
    assert sum(map(len, read_user_parts(str(tmp_path / name), "rollout.file"))) == 0
