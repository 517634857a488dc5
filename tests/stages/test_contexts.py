"""Every teacher context on the same rollouts and reflections of the pocket model."""

import re
import shutil

import pytest

from rosd_core.tables.io import read_table
from stages.paths import Paths
from tests.support import SMALL, run_stage, write_params

pytestmark = pytest.mark.stage


def scored(project, **align):
    """Rows of alignments and scores, by rollout, with these settings of align."""
    write_params(project, SMALL | {"align": align, "score": {"lift": "off"}})
    for stage in ("align", "score"):
        run_stage(project, stage, "i1")
    names, paths = ("alignments", "scores"), Paths(project)
    frames = [read_table(name, paths.table(name, "i1")) for name in names]
    return [{row["rollout_id"]: row for row in frame.iter_rows(named=True)} for frame in frames]


def text(tokenizer, row):
    """The teacher's prompt of a score row."""
    return tokenizer.decode(row["teacher_prompt_ids"])


def test_feedback_teaches_groups_without_success(reflected, tokenizer):
    rollouts = read_table("rollouts", Paths(reflected).table("rollouts", "i1"))
    own = {row["rollout_id"]: row for row in rollouts.iter_rows(named=True)}
    alignments, scores = scored(reflected, teacher_context="feedback_peer", mask="all")
    found = {row["teacher_context"] for row in alignments.values()}
    assert found >= {"feedback", "feedback_peer", "peer"}
    for rollout_id, row in scores.items():
        assert row["status"] == "scored"
        told, prompt = own[rollout_id]["feedback"], text(tokenizer, row)
        context = alignments[rollout_id]["teacher_context"]
        assert (f"Wrong:\n{own[rollout_id]['response']}\nHint: {told}" in prompt) == (
            context != "peer"
        )
        assert ("\nExample:\n" in prompt) == (context != "feedback")


def test_a_critique_ends_at_the_line_of_the_quote(reflected, tokenizer):
    alignments, scores = scored(reflected, teacher_context="critique", mask="all")
    assert {alignments[name]["kind"] for name in scores} == {"wrong", "correct"}
    for rollout_id, row in scores.items():
        prompt, wrong = text(tokenizer, row), alignments[rollout_id]["kind"] == "wrong"
        assert prompt.count("\nWrong: ") == wrong
        assert prompt.count("\nWhy: ") == 1
        if wrong:
            (line,) = re.findall(r"\nWrong: (.*)\nWhy: ", prompt)
            assert alignments[rollout_id]["quotes"][0]["quote"] in line
    assert not {row["skip_reason"] for row in alignments.values()} - {
        "no_success", "no_quote", "no_idea", "truncated", "quote_not_found", None,
    }  # fmt: skip


def test_a_reference_takes_the_place_of_a_missing_peer(reflected, tokenizer):
    settings = {"teacher_context": "peer", "mask": "all", "no_peer": "reference"}
    alignments, scores = scored(reflected, **settings)
    assert {row["status"] for row in alignments.values()} == {"supervised"}
    problems = read_table("problems", Paths(reflected).problems)
    solution = dict(problems.select("problem_id", "solution").iter_rows())
    contexts = {alignments[name]["teacher_context"] for name in scores}
    assert contexts == {"peer", "reference"}
    for name, row in scores.items():
        if alignments[name]["teacher_context"] == "reference":
            assert f"Example:\n{solution[row['problem_id']]}" in text(tokenizer, row)


def test_groups_without_success_are_reflected_on_beside_the_reference(reflected, tmp_path):
    shutil.copytree(reflected, tmp_path, dirs_exist_ok=True)
    changes = {"reflect": {"no_success": "reference"}, "score": {"lift": "off"}}
    write_params(tmp_path, SMALL | changes)
    before, after = (
        read_table("reflections", Paths(folder).table("reflections", "i1"))
        for folder in (reflected, run_from_reflect(tmp_path))
    )
    failed = before["skip_reason"] == "no_success"
    assert failed.any()
    assert before.filter(~failed).equals(after.filter(~failed))
    rows = after.filter(failed)
    assert rows["skip_reason"].is_null().all()
    assert rows["peer_id"].is_null().all()
    problems = read_table("problems", Paths(tmp_path).problems)
    solution = dict(problems.select("problem_id", "solution").iter_rows())
    for row in rows.iter_rows(named=True):
        assert f"Right:\n{solution[row['problem_id']]}\nWrong:" in row["messages"][0]["content"]
    scores = read_table("scores", Paths(tmp_path).table("scores", "i1"))
    readable = rows.filter(status="ok")["rollout_id"]
    assert set(scores["rollout_id"]) & set(readable)


def run_from_reflect(project):
    for stage in ("reflect", "align", "score"):
        run_stage(project, stage, "i1")
    return project
