"""A study end to end, on the real base model: runs, results, and going on after a stop."""

import json

import pytest
from ruamel.yaml import YAML

from rosd_core.config.load import load_params
from rosd_core.config.study import load_study, runs_of
from rosd_core.errors import RosdError
from rosd_core.tables.io import read_table, write_table
from stages import distill, study, study_run
from stages.paths import Paths
from tests.support import ROOT, SMALL, write_params

STUDY = {
    "title": "small",
    "seeds": [5],
    "seeded": ["rollout.seed"],
    "iterations": 2,
    "evaluate_every": 2,
    "params": {"score.lift": "warn"},
    "settings": {},
    "arms": [{"method": ["opsd"], "distill.learning_rate": [1e-5, 1e-4]}],
    "select": {"axis": "distill.learning_rate", "domain": "story"},
    "baseline": {"method": "opsd"},
}


@pytest.fixture
def project(tmp_path):
    write_params(tmp_path, SMALL)
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "base").symlink_to(ROOT / "models" / "base")
    (tmp_path / "study").mkdir()
    return tmp_path


def run(project, **changes):
    with (project / "study" / "small.yaml").open("w") as stream:
        YAML().dump({**STUDY, **changes}, stream)
    study.run(load_params(project / "params.yaml"), Paths(project), "small")
    return read_table("study", project / "study" / "small" / "results.parquet")


@pytest.mark.stage
def test_a_study_that_was_stopped_goes_on_and_a_new_arm_runs_alone(project, monkeypatch, capsys):
    ran, real = [], study_run.distill.run

    def stopping(params, paths, iteration):
        ran.append((params.align.teacher_context, params.distill.learning_rate, iteration))
        if len(ran) == 4:
            raise KeyboardInterrupt
        real(params, paths, iteration)

    monkeypatch.setattr(distill, "run", stopping)
    with pytest.raises(KeyboardInterrupt):
        run(project)
    rows = run(project)
    done = [("reference", rate, i) for rate in (1e-5, 1e-4) for i in ("i1", "i2")]
    assert ran == [*done, done[3]]  # the second run was stopped in i2, and went on there
    ran.clear()
    frame = run(project, arms=[{"method": ["opsd"], "distill.learning_rate": [1e-5, 1e-3]}])
    assert ran == [("reference", 1e-3, "i1"), ("reference", 1e-3, "i2")]
    kept = rows.filter(arm="opsd, 1e-05")
    assert frame.filter(arm="opsd, 1e-05").equals(kept)
    assert set(kept["iteration"]) == {"base", "i1", "i2"}
    evaluated = kept.filter(quantity="evaluate.chain.mean")["iteration"].to_list()
    assert evaluated == ["base", "i2"]
    assert "distill.first_loss" in set(kept["quantity"])
    home = project / "study" / "small"
    aside = read_table("study", home / "left-out-1.parquet")  # the results of the arm that went
    assert aside.filter(arm="opsd, 0.0001").equals(rows.filter(arm="opsd, 0.0001"))
    text = (home / "tables.md").read_text()
    assert "in domain, by distill.learning_rate" in text
    assert text in capsys.readouterr().out
    for name in ("heat_map", "curves", "every_arm", "openings", "lengths"):
        assert (home / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    assert not list((home / "work").iterdir())  # no tables and models are left


def test_results_of_another_study_alone_are_set_aside_and_not_lost(project):
    with (project / "study" / "small.yaml").open("w") as stream:
        YAML().dump(STUDY, stream)
    runs = runs_of(
        load_study(project / "study" / "small.yaml"), load_params(project / "params.yaml")
    )
    home = project / "study" / "small"
    row = {
        "arm": runs[0].arm.label, "point": "x", "seed": 5, "weights": "others", "settings": "{}",
        "iteration": "base", "quantity": "evaluate.chain.mean", "value": 0.5, "note": None,
    }  # fmt: skip
    write_table("study", [row], home / "results.parquet")
    assert study.collect(home, runs, "these") == set()
    assert read_table("study", home / "left-out-1.parquet").to_dicts() == [row]
    assert not (home / "results.parquet").exists()
    assert study.collect(home, runs, "these") == set()


@pytest.mark.stage
def test_runs_of_a_seed_share_their_rollouts(project, monkeypatch):
    sampled = []
    real = study_run.rollout.run
    monkeypatch.setattr(
        study_run.rollout, "run", lambda *args: (sampled.append(args[2]), real(*args))
    )
    run(project, select=None, arms=[{"method": ["sft", "opsd"]}])
    assert sampled == ["i1", "i2", "i2"]


@pytest.mark.stage
def test_a_run_that_diverges_is_a_result(project, monkeypatch):
    def diverge(params, paths, iteration):
        raise RosdError("training diverged")

    monkeypatch.setattr(study_run.distill, "run", diverge)
    rows = run(project, select=None, arms=[{"method": ["sft"]}]).filter(quantity="failed")
    assert rows.select("iteration", "note").rows() == [("i1", "training diverged")]
    assert (
        "stopped in i1: training diverged"
        in (project / "study" / "small" / "tables.md").read_text()
    )


@pytest.mark.stage
def test_files_that_params_name_count_from_the_project_in_every_run(project):
    (project / "data").mkdir()
    rows = [{"question": f"What is {n} plus {n}?", "answer": str(2 * n)} for n in range(3, 9)]
    (project / "data" / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (project / "teacher").symlink_to(ROOT / "models" / "base")
    mine = {
        "task": "table", "train_file": None, "test_file": "data/mine.jsonl", "train": 0, "test": 2,
        "columns": {"prompt": "question", "answer": "answer"}, "grader": "last_number",
    }  # fmt: skip
    params = {
        "score.lift": "warn", "score.teacher": {"model": "teacher"},
        "prepare.domains.mine": mine,
    }  # fmt: skip
    arms = [{"method": ["sdpo"]}]
    found = run(
        project, select=None, arms=arms, baseline={"method": "sdpo"}, params=params, iterations=1
    )
    assert found.filter(quantity="failed").is_empty()
    assert not found.filter(quantity="evaluate.mine.mean").is_empty()
