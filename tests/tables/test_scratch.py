"""Which kept work a stage finds again, and which is deleted."""

from rosd_core.tables.hashing import file_hash
from rosd_core.tables.lock import one_writer
from rosd_core.tables.scratch import clean, scratch_folder


def test_the_same_inputs_find_the_same_folder_and_others_delete_it(tmp_path):
    first = scratch_folder(tmp_path, "rollout", "i1", {"a": 1, "b": [1.5, None]})
    (first / "shard").write_text("done")
    other_stage = scratch_folder(tmp_path, "score", "i1", {"a": 1})
    assert scratch_folder(tmp_path, "rollout", "i1", {"b": [1.5, None], "a": 1}) == first
    assert (first / "shard").exists()
    second = scratch_folder(tmp_path, "rollout", "i1", {"a": 2, "b": [1.5, None]})
    assert not list(second.glob("shard"))
    assert not first.exists()
    assert other_stage.exists()
    assert scratch_folder(tmp_path, "rollout", "i2", {"a": 2, "b": [1.5, None]}) != second


def test_work_that_another_run_is_doing_stays(tmp_path):
    with one_writer(tmp_path, "rollout-i1", []):
        first = scratch_folder(tmp_path, "rollout", "i1", {"a": 1})
        scratch_folder(tmp_path, "rollout", "i2", {"a": 1})
        assert first.exists()
        assert scratch_folder(tmp_path, "rollout", "i1", {"a": 2}) != first
        assert not first.exists()
    last = scratch_folder(tmp_path, "rollout", "i3", {"a": 1})
    assert list(last.parent.iterdir()) == [last]


def test_clean_deletes_all_of_it(tmp_path):
    folder = scratch_folder(tmp_path, "rollout", "i1", {})
    (folder / "shard").write_bytes(b"x" * 1000)
    assert clean(tmp_path) > 1000
    assert not folder.exists()
    assert clean(tmp_path) == 0


def test_a_file_that_changed_has_another_hash(tmp_path):
    file = tmp_path / "file"
    file.write_text("a")
    first = file_hash(file)
    file.write_text("bb")
    assert file_hash(file) != first
