"""What a command used, and all processes that it left behind.

Measured between this process and the command, by a small one: Linux hands the peak of the process
that forks on to the command.
"""

import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MEASURE = """
import ctypes, os, resource, subprocess, sys, time
ctypes.CDLL(None).prctl(36, 1)  # PR_SET_CHILD_SUBREAPER: what is left behind comes here
started = time.monotonic()
code = subprocess.call(sys.argv[2:])
try:
    while True:
        os.wait()
except ChildProcessError:
    pass
used = resource.getrusage(resource.RUSAGE_CHILDREN)
told = time.monotonic() - started, used.ru_utime + used.ru_stime, used.ru_maxrss / 2**20
open(sys.argv[1], "w").write(" ".join(map(str, told)))
sys.exit(code)
"""


@dataclass(frozen=True)
class Use:
    """Seconds until all processes had ended, CPU seconds of all (user and system), and the most
    memory that one of them had.
    """

    wall: float
    cpu: float
    gib: float


def used_by(
    command: Sequence[str], folder: Path, env: Mapping[str, str], output: Any = None
) -> Use | None:
    """Run a command in a folder to the end of all its processes; None where it fails. `output`
    takes stdout and stderr.
    """
    with tempfile.NamedTemporaryFile("r") as told:
        whole = [sys.executable, "-c", MEASURE, told.name, *command]
        if subprocess.call(whole, cwd=folder, env=env, stdout=output, stderr=output):
            return None
        return Use(*map(float, told.read().split()))
