"""The comparison: numbers by hand, and two arms end to end on the real base model."""

import json
import subprocess
import sys

import polars as pl
import pytest
from typer.testing import CliRunner

from rosd_core.config.edit import with_method
from rosd_core.config.load import load_params
from rosd_core.errors import RosdError
from rosd_core.report import compare
from rosd_core.tables.io import read_table
from stages.cli import app
from tests.support import ROOT, SMALL, run_stage, write_params


def samples(iteration, domain, *successes):
    """Two samples per problem."""
    return pl.DataFrame(
        {
            "iteration": iteration,
            "domain": domain,
            "problem_id": [f"{domain}{n // 2}" for n in range(len(successes))],
            "success": list(successes),
        }
    )


def test_accuracy_of_an_arm_by_hand():
    frame = pl.concat(
        [
            samples("base", "a", True, False, False, False),  # 25 %
            samples("base", "b", True, True),  # 100 %
            samples("base", "c", False, False),
            samples("i1", "a", True, True, True, False),  # 75 %
            samples("i1", "b", True, False),
            samples("i1", "c", False, True),
        ]
    )
    rows = {
        (r["iteration"], r["domain"]): (r["accuracy"], r["change"])
        for r in compare.arm_accuracy(frame, ["a"]).iter_rows(named=True)
    }
    assert rows["i1", compare.IN] == (75, 50)
    assert rows["base", compare.OUT] == (50, 0)
    assert rows["i1", compare.OUT] == (50, 0)  # b lost 50 points, c won 50
    assert rows["i1", "b"] == (50, -50)


def results(**values):
    rows = [
        {"method": method, "seed": seed, "quantity": "q", "value": value}
        for method, of_seed in values.items()
        for seed, value in of_seed.items()
    ]
    return pl.DataFrame(rows)


def test_differences_are_paired_by_seed():
    # over seeds the methods overlap widely, but rosd is one better on each
    frame = results(rosd={1: 11.0, 2: 51.0}, opsd={2: 50.0, 1: 10.0})
    rosd, opsd = compare.summarise(frame, "opsd", 0.95, 200).iter_rows(named=True)
    assert (rosd["mean"], rosd["low"], rosd["high"]) == (31, 11, 51)
    assert (rosd["difference"], rosd["difference_low"], rosd["difference_high"]) == (1, 1, 1)
    assert opsd["difference"] is None


def test_the_best_is_bold_and_the_baseline_has_no_difference():
    summary = compare.summarise(results(rosd={1: 2.0}, opsd={1: 1.0}), "opsd", 0.95, 100)
    assert compare.mean_cells(summary, ["rosd", "opsd"], ["q"], ["q"]) == [
        ["rosd", "**2.0** [2.0, 2.0]"],
        ["opsd", "1.0 [1.0, 1.0]"],
    ]
    assert compare.difference_cells(summary, ["rosd", "opsd"], ["q"]) == [
        ["rosd", "+1.0 [+1.0, +1.0]"]
    ]
    assert compare.markdown(["a", "b"], [["1", "2"]]) == "| a | b |\n| --- | --- |\n| 1 | 2 |\n"


@pytest.mark.stage
def test_two_arms_share_their_first_iteration(tmp_path, capsys):
    small = SMALL | {"compare": {"methods": ["opsd", "sft"], "seeds": [5]}}
    write_params(tmp_path, small)
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "base").symlink_to(ROOT / "models" / "base")
    run_stage(tmp_path, "compare_shared", "5")
    for method in ("opsd", "sft"):
        run_stage(tmp_path, "compare_arm", method, "5")
    run_stage(tmp_path, "compare")
    home = tmp_path / "compare"
    rollouts, rows = {}, {}
    for method in ("opsd", "sft"):
        tables = home / "work" / f"{method}-5" / "iterations" / "i1"
        rollouts[method] = (tables / "rollouts.parquet").read_bytes()
        rows[method] = read_table("scores", tables / "scores.parquet")
        arm = read_table("evaluation", home / "arms" / f"{method}-5.parquet")
        assert arm["iteration"].unique(maintain_order=True).to_list() == ["base", "i1"]
    assert rollouts["opsd"] == rollouts["sft"]
    assert set(rows["opsd"]["status"]) == {"scored"}
    assert set(rows["sft"]["status"]) == {"no_teacher"}
    costs = json.loads((home / "arms" / "sft-5.json").read_text())
    assert 0 < costs["supervised_token_share"] < 1  # wrong responses are not trained on
    assert not (home / "work" / "sft-5" / "models").exists()
    text = (home / "table.md").read_text()
    assert "Difference to opsd" in text
    assert "| sft |" in text
    assert (home / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert "mean@2" in capsys.readouterr().out


@pytest.mark.stage
def test_the_arms_of_a_seed_are_stages_in_their_order():
    """`make compare` hands these lines to dvc, one process a line."""
    result = CliRunner().invoke(app, ["arms", "2", "--params", str(ROOT / "params.yaml")])
    lines = [line.split() for line in result.stdout.splitlines()]
    known = subprocess.run(
        [sys.executable, "-m", "dvc", "stage", "list", "--name-only", "compare/dvc.yaml"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    assert [line[0] for line in lines] == [f"compare/dvc.yaml:shared@{seed}" for seed in (1, 2)]
    assert {name.split(":")[1] for line in lines for name in line} <= {
        name.split(":")[-1] for name in known
    }
    assert {len(line) for line in lines} == {1 + 7}


def test_unknown_methods_and_baselines_are_refused(tmp_path):
    file = write_params(tmp_path, {"compare": {"methods": ["opsd", "rosdd"]}})
    with pytest.raises(RosdError, match=r"compare\.methods: 'rosdd' is none of rosd, "):
        load_params(file)
    file = write_params(tmp_path, {"compare": {"methods": ["rosd"]}})
    with pytest.raises(RosdError, match=r"compare\.baseline: 'opsd' is not among"):
        load_params(file)
    with pytest.raises(RosdError, match="no method 'x'"):
        with_method(load_params(ROOT / "params.yaml"), "x")
