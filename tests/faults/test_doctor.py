"""`rosd doctor`: what a killed dvc leaves, found and mended; real DVC and git."""

import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from stages.doctor import is_lock_file
from tests.support import SMALL, command, refused, write_params

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


def test_a_check_of_everything_has_a_line_for_each_part(pipeline):
    code, said = command(pipeline, "doctor", "--all")
    assert code == 0, said
    lines = [line.split() for line in said.splitlines() if line[:1] != " "]
    parts = [
        "packages",
        "threads",
        "device",
        "dvc",
        "model",
        "memory",
        "disk",
        "template",
        "project",
    ]
    assert [name for _, name, *_ in lines] == parts
    assert ["ok", "project", "nothing", "is", "broken"] in lines


def test_what_a_check_of_everything_finds_is_an_error_with_its_remedy(pipeline):
    shutil.rmtree(pipeline / ".dvc")
    template = pipeline / "models" / "base" / "chat_template.jinja"
    template.write_text("{{ messages[0].content }}")  # no header of the assistant
    code, said = command(pipeline, "doctor", "--all")
    assert code == 1
    assert "is no DVC project: run `git init && dvc init` there" in said
    assert "the chat template ignores add_generation_prompt" in said
    assert said.count("rosd doctor: ") == 1
    (pipeline / "models" / "base" / "config.json").unlink()
    code, said = command(pipeline, "doctor", "--all")
    assert (code, "config.json is missing" in said) == (1, True)
    assert command(pipeline, "doctor") == (0, "")  # in a moment, none of that can be found


def test_a_dvc_project_needs_git_or_to_be_told_that_there_is_none(pipeline, monkeypatch):
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    config = pipeline / ".dvc" / "config"
    assert "no_scm" in config.read_text()
    config.write_text("")
    assert "is no git repository: run `git init`" in command(pipeline, "doctor", "--all")[1]
    subprocess.run(["git", "-C", str(pipeline), "init", "-q"], check=True)
    code, said = command(pipeline, "doctor", "--all")
    assert (code, "with git" in " ".join(said.split())) == (0, True)


@pytest.mark.skipif(find_spec("vllm") is not None, reason="vLLM is installed")
def test_an_extra_that_the_params_need_is_named(pipeline):
    write_params(pipeline, SMALL | {"rollout": SMALL["rollout"] | {"engine": "vllm"}})
    assert refused(pipeline, "doctor") == (
        "vllm is not installed; rollout.engine: vllm needs it: "
        "pip install -c constraints.txt -e '.[vllm]'"
    )


def test_more_threads_than_cores_are_a_note(pipeline):
    write_params(pipeline, SMALL | {"machine": {"threads": 4096}})
    code, said = command(pipeline, "doctor", "--all")
    assert code == 0
    assert "note  threads   machine.threads 4096" in said
    assert command(pipeline, "doctor") == (0, "")


def test_params_that_cannot_be_read_leave_the_rest_to_be_checked(pipeline):
    (pipeline / "params.yaml").write_text("seed: 1\n")
    code, said = command(pipeline, "doctor", "--all")
    assert code == 1
    assert "unknown key 'seed'" in said
    assert said.startswith("ok  packages")
