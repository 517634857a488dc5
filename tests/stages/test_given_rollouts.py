"""`rollout.file`: responses drawn elsewhere, through the stages with the real pocket model."""

import json
import shutil

import polars as pl
import pytest

from rosd_core.tables.io import read_table
from stages.paths import Paths
from tests.support import ROOT, SHARED, SMALL, command, no_shared, refused, run_stage, write_params

pytestmark = pytest.mark.stage


def project_with(folder, **rollout):
    """A project that reads `given.jsonl`, with its problems."""
    changes = SMALL | {"rollout": SMALL["rollout"] | {"file": "given.jsonl"} | rollout}
    write_params(folder, changes | {"score": {"lift": "off"}})
    shutil.copytree(ROOT / "models" / "base", folder / "models" / "base")
    run_stage(folder, "prepare")
    return folder


def table(project, name):
    return read_table(name, Paths(project).table(name, "i1"))


def in_order(rows):
    return rows.sort("rollout_id")


def test_our_own_samples_come_back_as_the_table_that_they_are_from(reflected, tmp_path):
    """With ids and log-probabilities nothing is lost, and the model's own log-probabilities, which
    are computed again, are those of the engine that sampled.
    """
    own = table(reflected, "rollouts")
    project = project_with(tmp_path)
    names = ["problem_id", "response", "response_ids", "behaviour_logp", "finish_reason"]
    own.select(names).write_ndjson(project / "given.jsonl")
    run_stage(project, "rollout", "i1")
    again = table(project, "rollouts")
    close = ["behaviour_logp", "student_logp"]
    assert in_order(again).drop(close).equals(in_order(own).drop(close))
    for name in close:
        before, after = (in_order(t)[name].explode() for t in (own, again))
        difference = (before.cast(pl.Float64) - after.cast(pl.Float64)).abs().max()
        assert isinstance(difference, float)
        assert difference < 1e-4


@pytest.fixture(scope="module")
def given(reflected, tmp_path_factory):
    """A project on texts alone: all samples of a problem, three of another, one of a third."""
    project = project_with(tmp_path_factory.mktemp("given"), file="given-{iteration}.jsonl")
    own = table(reflected, "rollouts")
    mixed = own.group_by("problem_id", maintain_order=True).agg(pl.col("success").sum())
    first, second, third = mixed.filter(pl.col("success").is_between(1, 3))["problem_id"][:3]
    prompt = read_table("problems", Paths(project).problems).select("problem_id", "prompt")
    rows = pl.concat(
        [
            own.filter(problem_id=first),
            own.filter(problem_id=second).head(3),
            own.filter(problem_id=third).head(1),
        ]
    ).join(prompt, "problem_id", maintain_order="left")
    lines = rows.select("prompt", "response").rows(named=True)
    lines += [{"prompt": "What is love?", "response": "Answer: 4"}]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (project / "given-i1.jsonl").write_text(text)
    code, said = command(project, "rollout", "i1")
    assert (code, said.strip().splitlines()[-1]) == (
        0,
        f"rosd rollout: {project / 'given-i1.jsonl'}: 8 of 9 rows are used; left out are 1 of no "
        "problem in problems.parquet (first: row 8).",
    )
    code, said = command(project, "verify", "i1")  # makes rows again, from the file
    assert (code, said) == (0, "rollouts: 8 rows made again, the same\n")
    return project


def test_groups_may_have_any_size_and_importance_weights_are_one(given):
    """Without behaviour log-probs the student's own stand in, and student / behaviour is 1."""
    rows = table(given, "rollouts")
    sizes = rows.group_by("problem_id").len()["len"]
    assert sorted(sizes) == [1, 3, 4]
    assert rows["behaviour_logp"].equals(rows["student_logp"].alias("behaviour_logp"))
    metrics = json.loads(Paths(given).metrics("rollout", "i1").read_text())
    assert (metrics["rollouts"], metrics["left_out_no_problem"], metrics["problems"]) == (8, 1, 3)


def test_reflect_to_distill_work_on_them(given):
    for stage in ("reflect", "align", "score", "distill"):
        code, said = command(given, stage, "i1")
        assert code == 0, said
    positions = table(given, "alignments").filter(status="supervised")["positions"]
    assert positions.list.len().sum() > 0
    metrics = json.loads(Paths(given).metrics("distill", "i1").read_text())
    assert metrics["mean_importance"] == pytest.approx(1, abs=1e-4)  # one step: weights are as read
    assert "no engine sampled them" in refused(given, "parity", "i1")


def test_advantages_need_no_equal_groups(given):
    """Of the group of one there is no contrast; the others are weighted as ever."""
    params = given / "params.yaml"
    before = params.read_text()
    params.write_text(before.replace("  weight: one ", "  weight: advantage "))
    command(given, "reflect", "i1")
    code, said = command(given, "align", "i1")
    rows = table(given, "alignments").join(table(given, "rollouts"), "rollout_id")
    params.write_text(before)
    assert code == 0, said
    single = rows.filter(pl.len().over("problem_id") == 1)
    assert single["skip_reason"].to_list() == ["no_contrast"]
    weighted = rows.filter(pl.len().over("problem_id") == 4)
    assert weighted["weight"].sum() == pytest.approx(0, abs=1e-5)  # advantages of a group


def test_a_file_that_changed_since_is_noticed(given):
    file = given / "given-i1.jsonl"
    before = file.read_text()
    file.write_text(before.splitlines()[0] + "\n")
    said = refused(given, "reflect", "i1")
    file.write_text(before)
    assert "rollouts.parquet: made from another rollout.file (given-i1.jsonl)" in said
    assert "Run `rosd rollout i1` again" in said


def test_a_file_that_is_not_there_is_named(tmp_path):
    project = project_with(tmp_path, file="given-{iteration}.jsonl")
    assert "given-i1.jsonl: no such file (rollout.file)" in refused(project, "rollout", "i1")


MODELS = ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification")


@no_shared
def test_solutions_of_other_models_to_gsm8k(tmp_path):
    """Real solutions of four models, two problems: the grader reads `A: 18` as the last number."""
    lines = (SHARED / "gsm8k" / "example_model_solutions.jsonl").read_text().splitlines()[:2]
    entries = [json.loads(line) for line in lines]
    golds = [entry["ground_truth"].rsplit("A: ", 1)[1] for entry in entries]
    problems = [
        {"question": e["question"], "answer": g} for e, g in zip(entries, golds, strict=True)
    ]
    (tmp_path / "problems.jsonl").write_text("".join(json.dumps(p) + "\n" for p in problems))
    given = [
        {"prompt": entry["question"], "response": entry[model]["solution"]}
        for entry in entries
        for model in MODELS
    ]
    (tmp_path / "given.jsonl").write_text("".join(json.dumps(row) + "\n" for row in given))
    domain = {
        "task": "table", "train": "all", "test": 0, "train_file": "problems.jsonl",
        "test_file": None, "columns": {"prompt": "question", "answer": "answer"},
        "grader": "last_number",
    }  # fmt: skip
    sizes = {"max_prompt_tokens": 400, "max_new_tokens": 700}
    write_params(
        tmp_path,
        SMALL
        | {
            "prepare": {"domains": {"gsm8k": domain}},
            "rollout": SMALL["rollout"] | {"file": "given.jsonl"} | sizes,
        },
    )
    shutil.copytree(ROOT / "models" / "base", tmp_path / "models" / "base")
    config = tmp_path / "models" / "base" / "config.json"
    longer = json.loads(config.read_text()) | {"max_position_embeddings": 2048}
    config.write_text(json.dumps(longer))  # rotary positions: nothing else depends on it
    run_stage(tmp_path, "prepare")
    run_stage(tmp_path, "rollout", "i1")
    rows = table(tmp_path, "rollouts")
    told = [entry[model]["is_correct"] for entry in entries for model in MODELS]
    assert len(rows) == 8
    by_text = dict(rows.select("response", "success").iter_rows())
    assert [by_text[row["response"]] for row in given] == told
    assert (
        rows["student_logp"]
        .list.len()
        .equals(rows["response_ids"].list.len().alias("student_logp"))
    )
