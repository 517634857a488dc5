"""Stages in children of the parent process: as by hand, and nothing is left when something dies."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rosd_core.tables.hashing import file_hash
from stages import parent
from tests.stages.parent_support import NOT_TAKEN
from tests.support import ROOT, SMALL, run_stage, write_params

pytestmark = pytest.mark.stage
LONG = SMALL | {"rollout": SMALL["rollout"] | {"problems": 12, "group_size": 64}}
LIBRARIES = {"jemalloc_bg_thd", "polars-ooc-clea"}
COMMAND = [sys.executable, "-m", "tests.stages.parent_support"]
ENV = {k: v for k, v in os.environ.items() if k != "ROSD_PARENT"} | {
    "PYTHONPATH": str(ROOT),
    "OMP_NUM_THREADS": "1",
    "PYTHONHASHSEED": "7",
}


def make(folder: Path, settings: dict) -> Path:
    """A project with its problems; its params file."""
    folder.mkdir()
    file = write_params(folder, settings)
    shutil.copytree(ROOT / "models" / "base", folder / "models" / "base")
    run_stage(folder, "prepare")
    return file


class Keeper:
    """A process that stands for `rosd repro`, with its parent process."""

    def __init__(self, project: Path) -> None:
        self.project = project
        self.process = subprocess.Popen(
            [*COMMAND, "keep"], cwd=project, env=ENV, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True,
        )  # fmt: skip
        assert self.process.stdout is not None
        self.env = ENV | {"ROSD_PARENT": self.process.stdout.readline().strip()}

    def parent(self) -> int:
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return int(children.read_text().split()[0])

    def launch(self, *args: str, **more) -> subprocess.Popen:
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        options = {"cwd": self.project, "env": self.env} | pipes | more
        return subprocess.Popen([*COMMAND, *args], **options)

    def run(self, *args: str, **more) -> tuple[int, str, str]:
        process = self.launch("hand", *args, **more)
        out, err = process.communicate(timeout=120)
        return process.returncode, out, err

    def end(self) -> None:
        self.process.communicate(timeout=60)


@pytest.fixture(scope="module")
def keeper(tmp_path_factory):
    """Killed by the last test."""
    return Keeper(make(tmp_path_factory.mktemp("parent") / "project", LONG).parent)


def ended(pid: int) -> bool:
    """Whether a process has ended, or does so soon; a zombie has."""
    for _ in range(200):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state in "ZX":
            return True
        time.sleep(0.05)
    return False


def begun(keeper: Keeper) -> tuple[subprocess.Popen, int]:
    """A launcher whose stage has begun to sample, and the child's pid, which the lock tells."""
    lock = keeper.project / ".rosd" / "locks" / "rollout-i1.lock"
    for folder in (".rosd", "iterations"):
        shutil.rmtree(keeper.project / folder, ignore_errors=True)
    launcher = keeper.launch("hand", "rollout", "i1")
    for _ in range(1200):
        if found := lock.is_file() and re.match(r"pid (\d+)", lock.read_text()):
            time.sleep(0.3)
            return launcher, int(found[1])
        time.sleep(0.05)
    raise AssertionError("the stage has not begun")


def written(project: Path) -> list[Path]:
    """What a rollout has left, temporary files among it."""
    return [*project.glob("iterations/*/*"), *project.glob("metrics/*rollout*")]


def only_temporary(project: Path) -> bool:
    """After a SIGKILL; the next run sweeps them (tests/faults/test_one_writer.py)."""
    return all(file.name.endswith(".tmp") for file in written(project))


def test_the_parent_has_no_threads_but_those_that_libraries_keep(keeper):
    """And these do not run while it forks: jemalloc is told of a fork, polars' waits for work."""
    tasks = Path(f"/proc/{keeper.parent()}/task")
    assert keeper.run("rollout", "i9")[0] == 1  # it has imported them
    names = {(task / "comm").read_text().strip() for task in tasks.iterdir()}
    assert names <= {(tasks / str(keeper.parent()) / "comm").read_text().strip()} | LIBRARIES


def test_a_stage_in_a_child_writes_the_same_bytes(keeper, tmp_path):
    """Sampling, and training with its optimizer state."""
    project, by_hand = tmp_path / "in_children", tmp_path / "by_hand"
    settings = make(project, SMALL)
    shutil.copytree(project, by_hand)
    for stage in ("rollout", "reflect", "align", "score", "distill"):
        code, out, err = keeper.run(stage, "i1", "--params", str(settings))
        assert (code, out) == (0, ""), err
        run_stage(by_hand, stage, "i1")
    hashes = [
        {str(f.relative_to(p)): file_hash(f) for f in p.rglob("*.*") if ".rosd" not in f.parts}
        for p in (project, by_hand)
    ]
    assert len(hashes[0]) > 20
    assert hashes[0] == hashes[1]


def test_a_child_looks_like_a_process_of_its_own(keeper):
    """All but what libraries draw from the system's entropy, which differs from child to child."""
    code, out, err = keeper.run("probe", umask=0o27)
    assert (code, err) == (0, "")
    again = json.loads(keeper.run("probe", umask=0o27)[1])
    alone, _ = keeper.launch("alone", "probe", umask=0o27, env=ENV).communicate(timeout=120)
    child, fresh = json.loads(out), json.loads(alone)
    drawn = [looks.pop("drawn") for looks in (child, again, fresh)]
    assert child == fresh == again
    assert len({value for pair in drawn for value in pair}) == 12


@pytest.mark.parametrize(
    ("args", "code", "told"),
    [
        (("rollout", "i9"), 1, "rosd rollout: iteration 'i9' is not in params.yaml: loop."),
        (("rollout",), 2, "Usage: rosd rollout [OPTIONS]"),
        (("rollout", "i1", "--params", "none.yaml"), 1, "none.yaml: no such file."),
    ],
)
def test_codes_and_messages_come_through(keeper, args, code, told):
    found, _, err = keeper.run(*args)
    assert found == code
    assert told in err


def test_another_folder(keeper):
    (keeper.project / "below").mkdir(exist_ok=True)
    args = ("align", "i1", "--params", "../params.yaml")
    code, _, err = keeper.run(*args, cwd=keeper.project / "below")
    assert code == 1  # its tables are missing, where the params say
    assert f"{keeper.project}/iterations/i1/rollouts.parquet: no such table" in err


def test_launchers_that_do_not_fit_run_the_stage_themselves(keeper):
    for more in (
        {"OMP_NUM_THREADS": "2"},
        {"PYTHONHASHSEED": "8"},
        {"PYTHONPATH": f"{ROOT}:/somewhere"},
        {"WORLD_SIZE": "2"},
        {"ROSD_PARENT": "of-yesterday"},
    ):
        code, out, err = keeper.run("rollout", "i9", env=keeper.env | more)
        assert (code, out, err) == (NOT_TAKEN, "", ""), more
    assert keeper.run("rollout", "i9", env=keeper.env | {"DVC_STAGE": "x", "PWD": "y"})[0] == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_launcher_interrupts_the_stage(keeper, number):
    launcher, pid = begun(keeper)
    launcher.send_signal(number)
    _, err = launcher.communicate(timeout=60)
    assert launcher.returncode == 130
    assert "rosd rollout: interrupted; shards that are done are kept" in err
    assert ended(pid)
    assert not written(keeper.project)


def test_a_child_that_is_killed_ends_its_launcher_the_same_way(keeper):
    launcher, pid = begun(keeper)
    os.kill(pid, signal.SIGKILL)
    assert launcher.wait(timeout=60) == -signal.SIGKILL


def test_a_launcher_that_is_killed_takes_its_child_with_it(keeper):
    launcher, pid = begun(keeper)
    launcher.kill()
    launcher.communicate()
    assert ended(pid)
    assert only_temporary(keeper.project)


@pytest.mark.parametrize(
    "changes",
    [
        {"machine": {"device": "cuda"}},
        {"engine": {"workers": 2}},
        {"rollout": {"engine": "vllm"}},
        {"rollout": {"no such key": 1}},
    ],
)
def test_stages_that_start_afresh(tmp_path, changes):
    """With devices and threads of their own; and with wrong params, which the stage refuses."""
    before = set(sys.modules)
    assert not parent.prepared(write_params(tmp_path, changes))
    assert not [name for name in set(sys.modules) - before if name.startswith("stages.")]


@pytest.mark.slow
def test_a_parent_that_is_killed_takes_its_stages_with_it(keeper, tmp_path):
    other = Keeper(shutil.copytree(keeper.project, tmp_path / "project"))
    parent_pid = other.parent()
    ends_with(other, parent_pid)
    other.end()


def test_nothing_outlives_the_command(keeper):
    """`keeper` stands for `rosd repro`, which is DVC."""
    parent_pid = keeper.parent()
    ends_with(keeper, keeper.process.pid)
    assert ended(parent_pid)


def ends_with(keeper: Keeper, victim: int) -> None:
    """Kill it while a stage runs: the stage ends, and its launcher, too."""
    launcher, pid = begun(keeper)
    os.kill(victim, signal.SIGKILL)
    _, err = launcher.communicate(timeout=60)
    assert launcher.returncode == 128 + signal.SIGKILL
    assert "the parent process of `rosd repro` was killed" in err
    assert ended(pid)
    assert only_temporary(keeper.project)
    assert keeper.run("rollout", "i9")[0] == NOT_TAKEN  # nobody listens any more
