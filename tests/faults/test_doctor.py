"""`rosd doctor`: what a killed dvc leaves, found and mended; real DVC and git."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from stages.doctor import is_lock_file
from tests.support import command, refused

DVC = [sys.executable, "-m", "dvc"]
PIPELINE = """
stages:
  first: {cmd: cp a.txt b.txt, deps: [a.txt], outs: [b.txt]}
  second: {cmd: echo ran >> log; cp b.txt c.txt, deps: [b.txt], outs: [c.txt]}
"""


def dvc(folder, *args):
    return subprocess.run(
        [*DVC, *args], cwd=folder, capture_output=True, text=True, check=False,
        env=os.environ | {"DVC_NO_ANALYTICS": "1"},
    )  # fmt: skip


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dvc")
    (folder / "dvc.yaml").write_text(PIPELINE)
    (folder / "a.txt").write_text("a")
    assert dvc(folder, "init", "--no-scm").returncode == 0
    assert dvc(folder, "repro").returncode == 0
    return folder


@pytest.fixture
def pipeline(ran, project):
    """The small project with a DVC pipeline that ran."""
    shutil.copytree(ran, project, dirs_exist_ok=True)
    return project


def test_a_sound_project_has_nothing_to_mend(pipeline):
    assert command(pipeline, "doctor") == (0, "")


@pytest.mark.parametrize("data", [b"", b"schema: '2.0'\nstages:\n  first: {cmd", b"\xff\xfe"])
def test_a_lock_file_that_a_kill_left_is_mended_and_no_stage_runs_again(pipeline, data):
    whole = (pipeline / "dvc.lock").read_bytes()
    (pipeline / "dvc.lock").write_bytes(data)
    assert dvc(pipeline, "repro").returncode != 0  # the reason why it has to be mended
    assert "dvc.lock: empty or cut off, so that DVC refuses to run; `rosd doctor --fix`" in refused(
        pipeline, "doctor"
    )
    code, said = command(pipeline, "doctor", "--fix")
    assert (code, "deleted; `dvc repro` takes finished stages" in said) == (0, True)
    assert dvc(pipeline, "repro").returncode == 0
    assert (pipeline / "dvc.lock").read_bytes() == whole
    assert (pipeline / "log").read_text() == "ran\n"  # once, before the kill


def test_a_committed_lock_file_comes_back(pipeline):
    whole = (pipeline / "dvc.lock").read_bytes()
    git = ["git", "-C", str(pipeline), "-c", "user.name=A", "-c", "user.email=a@example.org"]
    for args in (["init", "-q"], ["add", "dvc.lock"], ["commit", "-qm", "lock"]):
        subprocess.run([*git, *args], check=True)
    (pipeline / "dvc.lock").write_bytes(b"")
    code, said = command(pipeline, "doctor", "--fix")
    assert (code, "restored from the last commit" in said) == (0, True)
    assert (pipeline / "dvc.lock").read_bytes() == whole


@pytest.mark.parametrize("text", ["", '{"read": {'])
def test_a_list_of_running_commands_that_a_kill_left_is_mended(pipeline, text):
    file = pipeline / ".dvc" / "tmp" / "rwlock"
    file.write_text(text)
    (pipeline / "a.txt").write_text("other")
    assert "rwlock" in dvc(pipeline, "repro").stderr
    assert "rwlock: empty or cut off" in refused(pipeline, "doctor")
    assert command(pipeline, "doctor", "--fix")[0] == 0
    assert dvc(pipeline, "repro").returncode == 0
    json.loads(file.read_text())


def test_what_cannot_be_mended_is_named(project):
    (project / "models" / "base.json").write_text(
        json.dumps({"model": str(project / "gone"), "revision": None, "stamps": {}})
    )
    assert "gone is gone" in refused(project, "doctor", "--fix")
    (project / "params.yaml").write_text("seed: 1\n")
    assert "unknown key 'seed'" in command(project, "doctor")[1]


def test_what_a_lock_file_is():
    assert is_lock_file(b"schema: '2.0'\nstages: {}\n")
    assert not is_lock_file(b"schema: '2.0'\n")
    assert not is_lock_file(b"- 1\n")
