"""What the tests against vLLM share: a small project, its stages as processes, and a server.

Every process has a time limit: after an error inside vLLM the next call may hang.
"""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support import ROOT, SMALL, write_params

LIMIT = 240  # seconds of a process
LORA = {"rank": 4, "alpha": 16, "dropout": 0.0, "modules": "all-linear", "merge": False}


def make_project(folder: Path, engine: str, changes: dict) -> Path:
    """A small pocket project whose rollout, reflect and evaluate use `engine`."""
    sections = {s: {"engine": engine} for s in ("rollout", "reflect", "evaluate")}
    for name, values in [*SMALL.items(), *changes.items()]:
        sections[name] = sections.get(name, {}) | values
    folder.mkdir(exist_ok=True)
    write_params(folder, sections)
    for name in ("models/base", "optimizers/base"):
        if not (folder / name).exists():
            shutil.copytree(ROOT / name, folder / name)
    rosd(folder, "prepare")
    return folder


def rosd(project: Path, *args: str) -> subprocess.CompletedProcess:
    """A command, as a process in the project's folder; it has to succeed."""
    done = try_rosd(project, *args)
    assert done.returncode == 0, done.stderr[-3000:]
    return done


def try_rosd(project: Path, *args: str) -> subprocess.CompletedProcess:
    """A command that may fail."""
    return subprocess.run(
        [sys.executable, "-m", "stages.cli", *args],
        cwd=project,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=LIMIT,
    )


def iteration(project: Path) -> None:
    """One whole iteration, and its evaluation."""
    for stage in ("rollout", "reflect", "align", "score", "distill", "evaluate"):
        rosd(project, stage, "i1")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def served(project: Path, model: str, url: str) -> Iterator[None]:
    """vLLM's server on a model of the project, as `rosd serve` starts it; ended at the end."""
    log = (project / "serve.log").open("w")
    server = subprocess.Popen(
        [sys.executable, "-m", "stages.cli", "serve", model],
        cwd=project,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=log,
        stderr=subprocess.STDOUT,
    )
    try:
        _wait(server, url, project / "serve.log")
        yield
    finally:
        server.terminate()
        try:
            server.wait(30)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait(30)
        log.close()


def _wait(server: subprocess.Popen, url: str, log: Path) -> None:
    for _ in range(LIMIT):
        assert server.poll() is None, log.read_text()[-3000:]
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=5):
                return
        except OSError:
            time.sleep(1)
    raise AssertionError(log.read_text()[-3000:])
