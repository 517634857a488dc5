"""How commands end: one message and an exit code, whatever happens."""

import errno
import os
import shutil
import signal
import subprocess
import sys

import pytest
import torch
import typer

from rosd_core.errors import RosdError
from rosd_core.terminal import printable
from stages.messages import messages
from tests.support import ROOT, command, refused


def end_of(capsys, error: BaseException, name: str = "rollout") -> tuple[int, str]:
    """Exit code and message of a command that ends in `error`."""
    with pytest.raises(typer.Exit) as ended, messages(name):
        raise error
    return ended.value.exit_code, capsys.readouterr().err


def wrapped(cause: BaseException) -> RuntimeError:
    error = RuntimeError("outer")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(errno.ENOSPC, "", "a.parquet"), "a.parquet: No space left on device: free some"),
        (wrapped(OSError(errno.EDQUOT, "", "a")), "a: Disk quota exceeded"),
        (OSError("I/O error: No space left on device (os error 28)"), "(os error 28): free some"),
        (PermissionError(errno.EACCES, "", "/root/x"), "/root/x: Permission denied"),
        (OSError(errno.EROFS, "", "x"), "x: Read-only file system"),
        (MemoryError("4 GiB"), "out of memory (4 GiB): lower batch_tokens"),
        (torch.OutOfMemoryError("CUDA"), "out of memory (CUDA)"),
        (RuntimeError("[] DefaultCPUAllocator: can't allocate memory"), "memory): lower batch_tok"),
        (RosdError("params.yaml: bad"), "params.yaml: bad"),
    ],
)
def test_what_a_user_can_mend_is_one_message(capsys, error, message):
    code, said = end_of(capsys, error)
    assert code == 1
    assert said.startswith("rosd rollout: ")
    assert message in said
    assert said.count("\n") == 1


def test_what_nobody_expected_goes_to_a_log_file(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").touch()
    code, said = end_of(capsys, ZeroDivisionError("division by zero"), "bootstrap --from")
    assert code == 70
    assert said.startswith(
        "rosd bootstrap --from: unexpected ZeroDivisionError: division by zero\n"
    )
    (log,) = (tmp_path / ".rosd" / "logs").iterdir()
    assert str(log.relative_to(tmp_path)) in said
    assert "Traceback" not in said
    assert "ZeroDivisionError: division by zero" in log.read_text()


def test_the_log_goes_elsewhere_where_the_project_cannot_be_written(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "other"))
    (tmp_path / "params.yaml").touch()
    (tmp_path / ".rosd").touch()  # a file where the folder should be
    code, said = end_of(capsys, KeyError("x"))
    assert (code, str(tmp_path / "other") in said) == (70, True)


@pytest.mark.parametrize(
    ("name", "stage", "message"),
    [
        ("rollout", None, "interrupted; shards that are done are kept; run it again to go on."),
        (
            "rollout",
            "rollout@i1",
            "interrupted; shards that are done are kept; `dvc repro` goes on.",
        ),
        ("align", "align@i1", "interrupted; it wrote nothing; `dvc repro` goes on."),
        ("study", None, "interrupted; runs that are done are kept; run it again to go on."),
    ],
)
def test_an_interruption_says_what_is_left(capsys, monkeypatch, name, stage, message):
    monkeypatch.delenv("DVC_STAGE", raising=False)
    if stage:
        monkeypatch.setenv("DVC_STAGE", stage)
    code, said = end_of(capsys, KeyboardInterrupt(), name)
    assert (code, message in said) == (130, True)


def test_text_cannot_steer_a_terminal(capsys):
    code, said = end_of(capsys, RosdError("row 1: \x1b]0;title\x07\x1b[2J \u202egpj \udc80"))
    assert code == 1
    assert said == r"rosd rollout: row 1: \x1b]0;title\x07\x1b[2J \u202egpj \udc80" + "\n"
    kept = "Grüße, 日本語, \u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645\n\tx = y²"
    assert printable(kept) == kept


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written(project):
    (project / "data").mkdir(mode=0o500)
    assert "Permission denied" in refused(project, "prepare")


def test_a_file_in_the_place_of_a_folder(project):
    (project / "data").write_text("")
    assert "data" in refused(project, "prepare")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
def test_a_reader_that_goes_away_ends_a_command_quietly(project):
    text = f"{sys.executable} -m stages.cli schema | head -1"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", text], cwd=project, capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)}, check=False,
    )  # fmt: skip
    assert done.stderr == ""


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("mount") is None or os.geteuid() != 0, reason="needs mount")
def test_a_full_disk_is_one_message_and_leaves_nothing(project):
    """On a real file system of 8 KiB; the table is larger."""
    small = project / "iterations"
    small.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8k", "tmpfs", str(small)], check=False
    )
    if done.returncode:
        pytest.skip("mounting is not allowed here")
    try:
        assert command(project, "prepare")[0] == 0
        assert "No space left on device" in refused(project, "rollout", "i1")
        assert not [f for f in small.rglob("*") if f.is_file()]
    finally:
        subprocess.run(["umount", "-l", str(small)], check=False)


def test_sigterm_is_an_interruption(project):
    command_line = [sys.executable, "-m", "stages.cli", "rollout", "i1"]
    assert command(project, "prepare")[0] == 0
    with subprocess.Popen(
        command_line, cwd=project, env=os.environ | {"PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stderr is not None
        process.stderr.readline()  # it is at work
        process.send_signal(signal.SIGTERM)
        said = process.stderr.read()
        process.wait(60)
    assert process.returncode in (0, 130)
    assert "Traceback" not in said
