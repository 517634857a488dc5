"""`rosd plan` on a project, through its command."""

import json
import shutil

import pytest
import torch

from rosd_core.models.pointer import set_base
from tests.support import ROOT, SMALL, command, refused, run_stage, write_params


@pytest.fixture
def project(tmp_path):
    write_params(tmp_path, SMALL)
    shutil.copytree(ROOT / "models" / "base", tmp_path / "models" / "base")
    shutil.copytree(ROOT / "presets", tmp_path / "presets")
    return tmp_path


def planned(project, *options):
    code, said = command(project, "plan", "--json", *options)
    assert code == 0, said
    return json.loads(said)


def test_a_plan_before_anything_has_run_and_after(project):
    before = planned(project)
    assert [line["stage"] for line in before["iteration"]] == [
        "rollout", "reflect", "align", "score", "distill", "evaluate",
    ]  # fmt: skip
    assert before["numbers"]["problems"] == {"value": 6, "origin": "params: rollout.problems"}
    assert before["numbers"]["test problems"] == {"value": 15, "origin": "params: prepare"}
    assert before["numbers"]["tokens of a response"]["origin"].startswith("assumed")
    assert not (project / "data").exists()
    assert all(line["fits"] for line in before["iteration"])
    run_stage(project, "prepare")
    metrics = project / "metrics"
    (metrics / "rollout-i1.json").write_text('{"response_tokens": 28.5, "success_share": 0.25}')
    after = planned(project, "--card", "L40S")["numbers"]
    assert after["tokens of a response"] == {"value": 28.5, "origin": "measured in i1"}
    assert after["wrong responses"] == {"value": 0.75, "origin": "measured in i1"}
    assert after["test problems"]["origin"] == "data/problems.parquet"
    # another model has other responses
    options = ("--card", "L40S", "--config", str(ROOT / "models" / "base"))
    thought = planned(project, *options)["numbers"]
    assert thought["tokens of a response"]["origin"].startswith("assumed")


def test_a_preset_on_a_card_that_is_not_here(project):
    options = ("--preset", "qwen3-4b", "--preset", "biology", "--config", "Qwen/Qwen3-4B")
    text = (project / "params.yaml").read_text()
    code, said = command(project, "plan", *options, "--card", "h100", "--iterations", "2")
    assert code == 0
    assert "distill will not fit" in said
    assert "2 iterations" in said
    assert "assumed: 1000 each of biology" in said
    assert (project / "params.yaml").read_text() == text
    roomy = planned(project, *options, "--card", "H100", "--memory", "141", "--rate", "1000")
    assert all(line["fits"] for line in roomy["iteration"])
    slow = planned(project, *options, "--card", "H100", "--rate", "100")
    assert slow["loop"]["seconds"] > roomy["loop"]["seconds"]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--card", "H1000"), "--card 'H1000' is unknown; there are: H100"),
        (("--config", "nowhere.json"), "nowhere.json: no config.json there"),
        (("--preset", "qwen"), "preset 'qwen' is unknown"),
        (("--preset", "qwen3-8b", "--card", "H100"), "no problem to train on: no entry of prepare"),
        (("--params", "nowhere.yaml"), "nowhere.yaml: no such file"),
    ],
)
def test_bad_input_is_one_message(project, options, told):
    assert refused(project, "plan", *options).startswith(told)


def test_damaged_metrics_are_named(project):
    (project / "metrics").mkdir()
    (project / "metrics" / "rollout-i1.json").write_text("{")
    assert "rollout-i1.json: not JSON" in refused(project, "plan", "--card", "H100")


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is there")
def test_gpus_that_are_not_here_need_a_name(project):
    assert "name one with --card" in refused(project, "plan", "--gpus", "2")


def test_a_hub_model_that_is_not_here_needs_its_config(project):
    set_base(project / "models" / "base", "nobody/nothing", "abc", project / "models" / "base")
    assert "--config FILE" in refused(project, "plan")
    shutil.rmtree(project / "models")
    assert "--config FILE" in refused(project, "plan")
