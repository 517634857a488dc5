"""Two runs of one stage, and what a killed one left, through the real command."""

import os
from pathlib import Path

import pytest

from rosd_core.tables.io import read_table
from rosd_core.tables.lock import one_writer
from stages.paths import KEYS, OUTPUTS, Paths
from tests.faults.support import rosd
from tests.stages.test_pipeline import definition
from tests.support import SMALL, write_params

STAGES = [s for s in OUTPUTS if s not in ("finetune", "study")]


@pytest.mark.parametrize("args", [("prepare",), ("rollout", "i1"), ("distill", "i1")])
def test_a_second_run_of_a_stage_says_who_holds_it(tmp_path, args):
    write_params(tmp_path, SMALL)
    run = "-".join(args) if len(args) > 1 else f"{args[0]}-all"
    with one_writer(tmp_path, run, []):
        result = rosd(tmp_path, *args)
    assert result.exit_code == 1
    assert f"{run} is being run by another process (pid {os.getpid()} on " in result.stderr
    assert not (tmp_path / "data").exists()


def test_leftovers_of_a_killed_run_are_swept(tmp_path):
    write_params(tmp_path, SMALL)
    (tmp_path / "data").mkdir()
    half = tmp_path / "data" / ".problems.parquet.4711-0123abcd.tmp"
    half.write_text("half a table")
    assert rosd(tmp_path, "prepare").exit_code == 0
    assert [f.name for f in half.parent.iterdir()] == ["problems.parquet"]
    assert len(read_table("problems", Paths(tmp_path).problems)) > 0


@pytest.mark.parametrize("key", ["../i1", "a/b"])
def test_a_key_is_a_name(tmp_path, key):
    write_params(tmp_path, SMALL)
    result = rosd(tmp_path, "evaluate", key)
    assert (result.exit_code, "is no name" in result.stderr) == (1, True)


@pytest.mark.parametrize("stage", STAGES)
def test_the_outputs_of_a_stage_are_those_of_dvc(stage):
    declared = definition(stage)
    names = [*declared["outs"], *declared.get("metrics", [])]
    names = [n if isinstance(n, str) else next(iter(n)) for n in names]
    key = KEYS.get(stage, "${key}")
    ours = [str(path.relative_to("/p")) for path in Paths(Path("/p")).outputs(stage, key)]
    assert sorted(ours) == sorted(names)
