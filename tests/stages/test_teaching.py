"""Settings of align and score that decide which wrong responses teach, on the real stages."""

import json

import numpy as np
import polars as pl
import pytest

from rosd_core.tables.io import read_table
from stages.paths import Paths
from tests.support import SMALL, run_stage, write_params

pytestmark = pytest.mark.stage


def scores(project, changes) -> pl.DataFrame:
    """The score table of the project's rollouts and reflections with changed params."""
    write_params(project, SMALL | changes)
    for stage in ("align", "score"):
        run_stage(project, stage, "i1")
    return read_table("scores", Paths(project).table("scores", "i1"))


@pytest.mark.parametrize("targets", ["topk", "hidden"])
def test_wrong_responses_start_where_the_teacher_disagrees(reflected, targets):
    usual = {"targets": targets, "lift": "off"}
    whole = scores(reflected, {"align": {"mask": "all"}, "score": usual})
    cut = scores(reflected, {"align": {"mask": "divergence"}, "score": usual})
    assert cut["rollout_id"].equals(whole["rollout_id"])
    wrong = {"started": 0, "nowhere": 0}
    for one, other in zip(cut.iter_rows(named=True), whole.iter_rows(named=True), strict=True):
        if one["kind"] == "correct":
            assert (one["positions"], one["policy"]) == (other["positions"], "all")
        elif one["status"] == "no_divergence":
            wrong["nowhere"] += 1
            assert one["positions"] == []
            assert max(other["divergence"]) <= 0.05
        else:
            wrong["started"] += 1
            first = one["positions"][0]
            assert one["divergence"] == other["divergence"][first:]
            assert one["divergence"][0] > 0.05 >= max(other["divergence"][:first], default=0)
            assert one["teacher_logp"] == other["teacher_logp"][first:]
    assert wrong["started"] > 0, wrong
    run_stage(reflected, "distill", "i1")
    trained = cut.filter(status="scored")
    metrics = json.loads(Paths(reflected).metrics("distill", "i1").read_text())
    tokens = int(trained["positions"].list.len().sum())
    assert (metrics["rows"], metrics["supervised_tokens"]) == (len(trained), tokens)


def test_ideas_are_tried_on_correct_peers(reflected):
    usual = {"targets": "topk", "lift": "off"}
    kept = scores(reflected, {"score": usual})
    found = scores(reflected, {"score": usual | {"idea_check": "drop"}})
    assert kept["idea_gain"].null_count() == len(kept)
    assert found.drop("idea_gain", "status").equals(kept.drop("idea_gain", "status"))
    wrong, correct = (found.filter(kind=kind) for kind in ("wrong", "correct"))
    assert correct["idea_gain"].null_count() == len(correct)
    assert wrong["idea_gain"].null_count() == 0
    rejected = wrong["idea_gain"] <= 0
    assert (wrong["status"] == "idea_rejected").equals(rejected)
    assert not rejected.all()


def test_a_contrast_changes_rows_whose_group_has_another_wrong_response(reflected):
    peer = {"align": {"teacher_context": "peer", "mask": "all"}}
    usual = {"targets": "topk", "lift": "off"}
    plain = scores(reflected, peer | {"score": usual})
    found = scores(reflected, peer | {"score": usual | {"contrast": 0.5}})
    rollouts = read_table("rollouts", Paths(reflected).table("rollouts", "i1"))
    wrong = rollouts.filter(~pl.col("success")).select(
        "problem_id", pl.col("rollout_id").alias("w")
    )
    pairs = found.select("rollout_id", "problem_id").join(wrong, "problem_id")
    able = set(pairs.filter(pl.col("w") != pl.col("rollout_id"))["rollout_id"])
    assert len(able) > 0
    for one, other in zip(found.iter_rows(named=True), plain.iter_rows(named=True), strict=True):
        gap = np.abs(np.subtract(one["teacher_logp"], other["teacher_logp"])).max()
        assert (gap > 1e-3) == (one["rollout_id"] in able), gap
        whole = np.exp(one["support_logp"]).sum(1) + np.exp(one["tail_logp"])
        assert np.allclose(whole, 1, atol=1e-4)  # still a distribution
