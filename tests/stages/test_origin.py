"""What stages/origin.py names, against dvc.yaml."""

import pytest

from rosd_core.config.load import load_params
from rosd_core.tables.origin import Origin
from stages.kept import kept
from stages.origin import MODELS, PARAMS, READS, params_of
from stages.paths import KEYS, OUTPUTS, Paths
from tests.stages.test_pipeline import definition
from tests.support import ROOT, write_params


@pytest.mark.parametrize("stage", PARAMS)
def test_params_are_those_that_dvc_knows(stage):
    declared = {name.replace("${key}", "{key}") for name in definition(stage)["params"]}
    elsewhere = {name for name in declared if name.split(".")[0] in ("machine", "engine")}
    assert set(PARAMS[stage]) == declared - elsewhere


@pytest.mark.parametrize("stage", PARAMS)
def test_inputs_are_those_that_dvc_knows(stage):
    declared = [d for d in definition(stage)["deps"] if d.startswith(("data", "iter", "models"))]
    names = {"{start}": "${item.start}", "{key}": "${key}"}
    models = [f"models/{names.get(name, name)}" for name in MODELS.get(stage, ())]
    key = "${key}"
    tables = [OUTPUTS[before][0].format(key=KEYS.get(before, key)) for before in READS[stage]]
    assert sorted([*models, *tables]) == sorted(declared)


def test_a_key_that_an_older_rosd_did_not_know_counts_where_it_is_set(tmp_path):
    before = params_of(load_params(ROOT / "params.yaml"), "rollout", "i1")
    assert "rollout.autocast" not in before
    file = write_params(tmp_path, {"rollout": {"autocast": "bfloat16"}})
    after = params_of(load_params(file), "rollout", "i1")
    assert after == before | {"rollout.autocast": "bfloat16"}


def test_params_are_flat_and_without_sizes_of_batches():
    found = params_of(load_params(ROOT / "params.yaml"), "rollout", "i1")
    assert found["loop.i1.start"] == "base"
    assert "rollout.temperature" in found
    assert not [name for name in found if name.endswith(("batch_tokens", "shard_problems"))]


def test_work_is_kept_where_only_what_is_said_at_its_end_changes(tmp_path):
    """`score.lift: warn` after a stop goes on with the shards that are there."""
    folders = []
    for changes in ({"lift": "stop"}, {"lift": "warn"}, {"row_lift": "drop"}):
        params = load_params(write_params(tmp_path, {"score": changes}))
        values = params_of(params, "score", "i1")
        folders.append(kept(params, Paths(tmp_path), Origin("score", "i1", values, {})))
    assert folders[0] == folders[1] != folders[2]
