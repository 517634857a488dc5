"""A few kills of real stages at random moments; `make chaos` makes a hundred."""

import subprocess
import sys

import pytest

from tests.support import ROOT


@pytest.mark.stage
def test_a_stage_that_is_killed_again_and_again_ends_with_the_same_bytes():
    command = [sys.executable, "benchmarks/chaos.py", "--kills", "8", "--short"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    kills = int(done.stdout.split("the loop: ")[1].split()[0])
    assert kills >= 5
    assert "every file equal" in done.stdout
