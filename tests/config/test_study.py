"""Studies: grids become arms, arms with seeds become runs, and a run knows its own results."""

import json

import pytest
from ruamel.yaml import YAML

from rosd_core.config.load import load_params
from rosd_core.config.study import arms_of, load_study, runs_of
from rosd_core.errors import RosdError
from tests.support import ROOT

PARAMS = load_params(ROOT / "params.yaml")
SMALL = {
    "title": "small",
    "seeds": [3, 4],
    "seeded": ["rollout.seed", "prepare.seed"],
    "iterations": 2,
    "evaluate_every": 1,
    "params": {"prepare.domains.story.test": 8},
    "settings": {
        "forward KL": {"distill.alpha": 0.0, "score.support": "teacher"},
        "often": {"rollout.problems": 8, "iterations": 4, "evaluate_every": 2},
    },
    "arms": [
        {"method": ["rosd", "opsd"], "divergence": ["forward KL"], "distill.learning_rate": [1e-5]},
        {"method": ["opsd"], "steps": ["often"]},
        {"method": ["opsd"], "steps": ["often"]},
    ],
    "select": {"axis": "distill.learning_rate", "domain": "story"},
    "baseline": {"method": "opsd"},
}


def study(tmp_path, **changes):
    file = tmp_path / "small.yaml"
    with file.open("w") as stream:
        YAML().dump({**SMALL, **changes}, stream)
    return load_study(file)


def test_a_grid_is_every_combination_and_a_point_counts_once(tmp_path):
    labels = [arm.label for arm in arms_of(study(tmp_path))]
    assert labels == ["rosd, forward KL, 1e-05", "opsd, forward KL, 1e-05", "opsd, often"]


def test_runs_have_the_values_of_study_arm_and_seed(tmp_path):
    runs = runs_of(study(tmp_path), PARAMS)
    assert [(run.arm.label[:4], run.seed) for run in runs] == [
        ("rosd", 3), ("opsd", 3), ("opsd", 3), ("rosd", 4), ("opsd", 4), ("opsd", 4),
    ]  # fmt: skip
    rosd, opsd, often = runs[3:]
    assert (rosd.params.prepare.seed, rosd.params.rollout.seed) == (4, 4)
    assert rosd.params.distill.seed == PARAMS.distill.seed  # not among `seeded`
    assert rosd.params.prepare.domains["story"].test == 8
    assert rosd.params.distill.alpha == opsd.params.distill.alpha == 0
    assert (rosd.params.align.teacher_context, opsd.params.align.teacher_context) == (
        "idea",
        "reference",
    )
    assert list(rosd.params.loop) == ["i1", "i2"]
    assert list(often.params.loop) == ["i1", "i2", "i3", "i4"]
    assert often.arm.evaluate_every == 2
    assert rosd.name == "rosd-forward-KL-1e-05-4"


def test_a_result_is_of_a_run_while_no_value_that_it_depends_on_has_changed(tmp_path):
    run = runs_of(study(tmp_path), PARAMS)[0]
    stored = json.loads(json.dumps(run.settings()))
    assert run.is_of(stored)
    later = runs_of(
        study(tmp_path, params={**SMALL["params"], "distill.rows_per_step": 32}), PARAMS
    )[0]
    assert not later.is_of(stored)
    del stored["distill"]["rows_per_step"]  # as if params.yaml had gained the key since
    assert later.is_of(stored)
    assert not run.is_of(stored | {"gone": 1})
    assert "report" not in stored  # no result depends on the decimals of a table


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seeds": []}, r"small\.yaml: seeds: List should have at least 1 item"),
        ({"seedz": [1]}, r"small\.yaml: seedz: Extra inputs are not permitted"),
        ({"arms": [{"method": ["rosdd"]}]}, "'rosdd' of axis 'method' is none of its methods"),
        ({"arms": [{"speed": ["x"]}]}, "'x' of axis 'speed' is none of its settings: forward KL"),
        ({"arms": [{"distill.learning_rat": [1]}]}, "distill.learning_rat: Extra inputs"),
        ({"arms": [{"distil.alpha": [1]}]}, "params.yaml has no 'distil'"),
        ({"arms": [{"distill.alpha": [7]}]}, "study's 7: distill.alpha: Input should be less"),
    ],
)  # fmt: skip
def test_a_bad_study_is_one_message(tmp_path, changes, message):
    with pytest.raises(RosdError, match=message):
        runs_of(study(tmp_path, **changes), PARAMS)


def test_a_study_that_is_not_there_names_those_that_are(tmp_path):
    study(tmp_path)
    with pytest.raises(RosdError, match="there are: small"):
        load_study(tmp_path / "other.yaml")
