"""A forced collapse, through the real commands: it stops, with a report, and publishes nothing."""

import json
import math
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from rosd_core.config.load import load_params
from rosd_core.distill.optimizer_state import STATE_FILE
from tests.faults.support import change_weights, rosd, settings
from tests.support import ROOT, run_stage

pytestmark = pytest.mark.stage


def published(project: Path) -> list[str]:
    """What distill i1 writes, as far as it is there under any name."""
    folders = ("models", "optimizers", "curves")
    found = [f.name for d in folders if (project / d).is_dir() for f in (project / d).iterdir()]
    return sorted(set(found) - {"base"})


@pytest.mark.parametrize("rate", [0.3, 10])
def test_a_learning_rate_that_destroys_the_model_is_stopped(scored, rate):
    settings(scored, distill={"learning_rate": rate, "warmup_steps": 0})
    done = rosd(scored, "distill", "i1")
    assert done.exit_code == 1
    assert "rosd distill: training collapsed at step 1, learning rate" in done.stderr, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if "guards.distill.stale_kl" in line]
    assert line.split()[-2:] == ["1", "exceeded"]
    assert "the last good iteration is base (models/base)" in done.stderr
    assert f"Lower distill.learning_rate ({rate})" in done.stderr
    assert published(scored) == []


def test_an_epoch_of_one_step_that_destroys_the_model_is_not_published(scored):
    settings(
        scored,
        distill={"rows_per_step": 1000, "warmup_steps": 0, "learning_rate": 10},
    )
    done = rosd(scored, "distill", "i1")
    assert done.exit_code == 1
    assert "training collapsed at the last step" in done.stderr
    assert published(scored) == []


def test_a_model_that_has_become_noise_is_stopped_when_it_samples(scored):
    settings(scored)
    change_weights(
        scored, "i1", lambda _, tensor: 0 * tensor
    )  # every id is as likely as any other: 1 in 576
    done = rosd(scored, "rollout", "i2")
    assert done.exit_code == 1
    assert "the samples of i2 look like those of a collapsed model" in done.stderr
    (line,) = [line for line in done.stderr.splitlines() if "guards.rollout.surprise " in line]
    assert line.split() == ["guards.rollout.surprise", f"{math.log(576):.4g}", "3", "exceeded"]
    assert "They are of models/i1; the last good iteration is base (models/base)." in done.stderr
    for action in ("warn", "off"):
        settings(scored, guards={"action": action})
        done = rosd(scored, "rollout", "i2")
        warned = "rosd rollout: the samples of i2 look like" in done.stderr
        assert (done.exit_code, warned) == (0, action == "warn")


def test_a_collapse_that_distill_let_pass_is_stopped_when_it_samples(scored):
    distill = {"learning_rate": 0.3, "warmup_steps": 0, "rows_per_step": 1000}
    settings(scored, distill=distill, guards={"action": "off"})
    done = rosd(scored, "distill", "i1")
    assert done.exit_code == 0, done.stderr
    settings(scored)
    done = rosd(scored, "rollout", "i2")
    assert done.exit_code == 1
    high = {line.split()[0] for line in done.stderr.splitlines() if line.endswith("exceeded")}
    assert {"guards.rollout.repetition", "guards.rollout.cut_off_rise"} <= high


def bounds(stage, **values):
    """The shipped guards with other bounds of a stage."""
    shipped = load_params(ROOT / "params.yaml").guards.model_dump()
    return shipped | {stage: shipped[stage] | values}


def test_the_base_model_is_warned_of_but_not_stopped(scored):
    settings(scored, guards=bounds("rollout", surprise=1e-4))
    done = rosd(scored, "rollout", "i1")
    assert done.exit_code == 0, done.stderr
    assert "They are of the base model, so no training did this" in done.stderr


def test_score_measures_and_bounds_the_distributions(scored):
    settings(scored, guards=bounds("score", tail_mass=1e-9))
    change_weights(scored, "i1", lambda _, tensor: tensor)  # not broken: the base itself
    for stage in ("rollout", "reflect", "align"):
        run_stage(scored, stage, "i2")
    done = rosd(scored, "score", "i2")
    assert done.exit_code == 1
    assert "the distributions of i2 look like those of a collapsed model" in done.stderr
    high = [line.split()[0] for line in done.stderr.splitlines() if line.endswith("exceeded")]
    assert high == ["guards.score.tail_mass"]
    metrics = json.loads((scored / "metrics" / "score-i2.json").read_text())
    assert metrics["base_kl"] == pytest.approx(0, abs=1e-5)
    assert 1e-9 < metrics["tail_mass"] < 1e-3 < metrics["student_entropy"] < 1


def test_a_model_with_nan_weights_is_not_opened(scored):
    settings(scored)
    change_weights(scored, "i1", lambda _, tensor: math.nan * tensor)
    done = rosd(scored, "rollout", "i2")
    assert done.exit_code == 1
    assert f"models{os.sep}i1: model.embed_tokens.weight (73728 of 73728 values)" in done.stderr
    assert published(scored) == ["i1"]


def test_an_optimizer_state_with_nan_is_not_continued(scored):
    settings(scored)
    change_weights(scored, "i1", lambda _, tensor: tensor)
    for stage in ("rollout", "reflect", "align", "score"):
        run_stage(scored, stage, "i2")
    optimizer = scored / "optimizers" / "i1" / STATE_FILE
    optimizer.parent.mkdir(parents=True)
    save_file({"steps": torch.tensor(3), "exp_avg/x": torch.tensor([math.nan])}, optimizer)
    done = rosd(scored, "distill", "i2")
    assert done.exit_code == 1
    assert "optimizer.safetensors: exp_avg/x (1 of 1 values) is infinite" in done.stderr
