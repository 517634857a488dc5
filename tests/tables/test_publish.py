"""Real processes that are killed while they write: forks of this one, which import nothing more."""

import os
import signal
from pathlib import Path

import pytest

from rosd_core.errors import RosdError
from rosd_core.tables.atomic import recover, replacing, replacing_folder
from rosd_core.tables.lock import lock_file, one_writer
from rosd_core.tables.origin import Origin
from rosd_core.tables.publish import publishing


def forked(work) -> int:
    """The exit status of a process that does this work."""
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException:
            os._exit(1)
        os._exit(0)
    return os.waitpid(child, 0)[1]


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def dying_at(number, work):
    """The same work in a process that is killed at rename `number` (from 1), before it is done."""
    left = [number]

    def counted(rename):
        def call(*args):
            left[0] -= 1
            if left[0] == 0:
                die()
            return rename(*args)

        return call

    def dies():
        for name in ("rename", "replace"):
            setattr(Path, name, counted(getattr(Path, name)))
        work()

    return dies


DISTILL = Origin("distill", "i1", {}, {})
OUTPUTS = ("models/i1", "optimizers/i1", "curves/i1.csv", "metrics/distill-i1.json")


def write_all(root: Path, text: str) -> None:
    """What distill writes: two folders and two files."""
    with publishing(root, DISTILL) as together:
        for name in OUTPUTS[:2]:
            with replacing_folder(root / name, together) as folder:
                (folder / "weights").write_text(text)
                (folder / f"only_{text}").touch()
        for name in OUTPUTS[2:]:
            with replacing(root / name, together) as file:
                file.write_text(text)


def texts(root: Path) -> list[str]:
    folders = [root / name for name in OUTPUTS[:2]]
    assert all(len(list(folder.iterdir())) == 2 for folder in folders)
    files = [folder / "weights" for folder in folders] + [root / name for name in OUTPUTS[2:]]
    return [file.read_text() for file in files]


def leftovers(root: Path) -> list[str]:
    return [str(f) for f in root.rglob("*") if f.name.endswith(".tmp") or f.suffix == ".json"]


def start_again(root: Path) -> None:
    """What every command does before its stage runs."""
    with one_writer(root, "distill-i1", [root / name for name in OUTPUTS]):
        pass


@pytest.mark.parametrize("killed_at", range(1, 8))
def test_outputs_change_together_wherever_a_process_is_killed(tmp_path, killed_at):
    """Seven renames: the list of them, two folders aside and in, two files in."""
    write_all(tmp_path, "old")
    status = forked(dying_at(killed_at, lambda: write_all(tmp_path, "new")))
    assert os.WIFSIGNALED(status)
    assert os.WTERMSIG(status) == signal.SIGKILL
    start_again(tmp_path)
    assert texts(tmp_path) == ["old" if killed_at == 1 else "new"] * 4
    assert leftovers(tmp_path) == [str(tmp_path / OUTPUTS[3])]


def test_seven_renames_are_all(tmp_path):
    write_all(tmp_path, "old")
    assert forked(dying_at(8, lambda: write_all(tmp_path, "new"))) == 0
    assert texts(tmp_path) == ["new"] * 4


def test_another_run_finishes_what_a_killed_one_began(tmp_path):
    """distill is killed between its renames, then evaluate starts, which reads its model."""
    write_all(tmp_path, "old")
    forked(dying_at(4, lambda: write_all(tmp_path, "new")))
    with one_writer(tmp_path, "evaluate-i1", []):
        assert texts(tmp_path) == ["new"] * 4


def test_an_error_leaves_what_was_there(tmp_path):
    write_all(tmp_path, "old")
    with pytest.raises(OSError, match="full"), publishing(tmp_path, DISTILL) as together:
        with replacing_folder(tmp_path / OUTPUTS[0], together) as folder:
            (folder / "weights").write_text("new")
        with replacing(tmp_path / OUTPUTS[2], together):
            raise OSError("disk full")
    assert texts(tmp_path) == ["old"] * 4
    assert leftovers(tmp_path) == [str(tmp_path / OUTPUTS[3])]


@pytest.mark.parametrize(("killed_at", "found"), [(1, "old"), (2, "old"), (3, "new")])
def test_a_folder_that_was_set_aside_comes_back(tmp_path, killed_at, found):
    """Renames of one folder: the old one aside, the new one in."""
    target = tmp_path / "models" / "base"

    def write(text):
        with replacing_folder(target) as folder:
            (folder / "weights").write_text(text)

    write("old")
    forked(dying_at(killed_at, lambda: write("new")))
    assert target.exists() == (killed_at != 2)
    recover(target)
    assert (target / "weights").read_text() == found
    assert [f.name for f in target.parent.iterdir()] == ["base"]


def test_two_processes_that_write_one_file_leave_a_whole_one(tmp_path):
    """Without a lock, too: each has a temporary name of its own."""
    target, (read, write) = tmp_path / "table", os.pipe()

    def second():
        with replacing(target) as file:
            os.write(write, b"x")  # both are at it now
            file.write_text("b" * 100_000)

    with replacing(target) as file:
        file.write_text("a" * 50_000)
        assert forked(second) == 0
        os.read(read, 1)
        with file.open("a") as more:
            more.write("a" * 50_000)
    assert target.read_text() == "a" * 100_000
    assert [f.name for f in tmp_path.iterdir()] == ["table"]


def test_the_second_run_is_told_who_holds_the_lock(tmp_path):
    def second():
        with pytest.raises(RosdError, match=f"run by another process .pid {os.getppid()} on "):
            start_again(tmp_path)

    with one_writer(tmp_path, "distill-i1", []):
        assert forked(second) == 0
        assert forked(lambda: one_writer(tmp_path, "distill-i2", []).__enter__()) == 0
    assert forked(lambda: start_again(tmp_path)) == 0


def test_a_killed_run_holds_no_lock_and_its_temporary_files_go(tmp_path):
    def killed():
        with one_writer(tmp_path, "distill-i1", []), replacing(tmp_path / OUTPUTS[2]) as file:
            file.write_text("half")
            die()

    forked(killed)
    assert "pid" in lock_file(tmp_path, "distill-i1").read_text()
    assert len(leftovers(tmp_path)) == 1
    start_again(tmp_path)
    assert leftovers(tmp_path) == []
