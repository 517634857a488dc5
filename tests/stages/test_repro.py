"""`rosd repro`: real DVC, with the parent process and without."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rosd_core.tables.hashing import table_hash
from tests.stages.test_pipeline import dvc, make_pipeline
from tests.support import ROOT, SMALL, write_params

pytestmark = pytest.mark.stage
SCRIPT = f"#!{sys.executable}\nfrom stages.launch import main\nmain()\n"


def repro(project: Path, *args: str) -> subprocess.CompletedProcess[str]:
    """The installed command, of the code here."""
    script = project.parent / "bin" / "rosd"
    script.parent.mkdir(exist_ok=True)
    script.write_text(SCRIPT)
    script.chmod(0o755)
    path = [str(script.parent), str(Path(sys.executable).parent), os.environ["PATH"]]
    env = os.environ | {"PATH": os.pathsep.join(path), "PYTHONPATH": str(ROOT)}
    command = [str(script), "repro", *args]
    return subprocess.run(command, cwd=project, env=env, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("target", "table"),
    [
        ("prepare", "data/problems.parquet"),
        pytest.param("rollout@i1", "iterations/i1/rollouts.parquet", marks=pytest.mark.slow),
    ],
)
def test_the_tables_and_dvc_lock_are_those_of_dvc(tmp_path, target, table):
    """`prepare` runs in its own process, `rollout` in a child of the parent."""
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    ours.mkdir()
    make_pipeline(ours)
    write_params(ours, SMALL)
    shutil.copytree(ours, theirs)
    done = repro(ours, target)
    assert (done.returncode, "> rosd prepare" in done.stdout) == (0, True), done.stderr
    dvc(theirs, "repro", target)
    hashes = [table_hash(project / table) for project in (ours, theirs)]
    assert hashes[0] == hashes[1]
    assert (ours / "dvc.lock").read_text() == (theirs / "dvc.lock").read_text()


def test_wrong_params_are_refused_before_dvc_deletes_what_a_stage_wrote(tmp_path):
    project = tmp_path / "project"
    project.mkdir()
    make_pipeline(project)
    (project / "data").mkdir()
    (project / "data" / "problems.parquet").write_text("of an earlier run")
    write_params(project, SMALL | {"rollout": {"no such key": 1}})
    done = repro(project, "-s", "prepare")
    assert done.returncode == 1
    assert "rosd repro: params.yaml: unknown key 'rollout.no such key'." in done.stderr
    assert (project / "data" / "problems.parquet").read_text() == "of an earlier run"


def test_what_is_wrong_is_said_by_the_stage_and_ends_as_under_dvc(tmp_path):
    project = tmp_path / "project"
    project.mkdir()
    make_pipeline(project)
    domain = {"task": "gsm8k", "train": 1, "test": 0, "train_file": "no.jsonl", "test_file": None}
    write_params(project, SMALL | {"prepare": {"domains": {"mine": domain}}})
    done = repro(project, "-s", "prepare")
    assert done.returncode == 255
    assert "no.jsonl: no such file" in done.stderr
    assert "failed to reproduce 'prepare'" in done.stderr
    assert repro(project, "--no-such-option").returncode == 254
