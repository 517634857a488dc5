"""`rosd show`, on tables by hand."""

import re
from typing import get_args

import pytest
from typer.testing import CliRunner

from rosd_core.config.training import Align
from rosd_core.distill.targets import LEFT_OUT
from rosd_core.report.page.outcomes import TRAINED
from rosd_core.report.page.reasons import REASONS
from rosd_core.show.rollout import that_fit
from rosd_core.show.words import WORDS
from rosd_core.tables.schemas import SCHEMAS
from stages.cli import app
from tests.show.support import (
    DIVERGENCE,
    PEER,
    PEER_ID,
    PROBLEM_ID,
    RESPONSE,
    ROLLOUT_ID,
    alignment,
    id_of,
    reflection,
    rollout,
    rollouts,
    score,
    write_project,
)
from tests.support import SMALL, command, refused, write_params

LOOP = {"i1": {"start": "base"}, "i2": {"start": "base"}}


@pytest.fixture
def two(project, monkeypatch):
    """A project with a loop of two iterations."""
    monkeypatch.setenv("COLUMNS", "80")
    write_params(project, SMALL | {"loop": LOOP})
    return project


def shown(project, *args: str) -> str:
    code, said = command(project, "show", *args)
    assert code == 0, said
    return said


def test_a_rollout_by_hand(two):
    write_project(two)
    said = shown(two, ROLLOUT_ID, "--tokens", "2")
    assert (
        said
        == f"""\
{ROLLOUT_ID}  wrong  iteration i1, sampled by base

Problem
  Start with 12. Add 9. Take away 1.

Response
  12+9=21
  21-1=10↵
  ^^^^^^^
  00000770
  Answer: 10<|im_end|>
  00000000220000000000
  ^ error quote; 0-9 supervised: divergence in tenths of its maximum, 0.69 nats;
  no mark: not supervised

Verdict
  reward 0; answer 10, correct is 20
  feedback: The answer '10' is wrong.

Reflection
  idea: No ten is borrowed.
  quote (found): 21-1=10

Peer {PEER_ID}
  12+9=21
  21-1=20
  Answer: 20

Supervision
  from the error quote on: 11 of 17 tokens, from token 6 on
  beside the problem, the teacher reads the idea
  the teacher's targets are stored

Largest divergence: 2 of 11 supervised tokens
  token  text    JSD  student  teacher        log p  teacher's top ids
  ──────────────────────────────────────────────────────────────────────────
     10  "10"  0.500    50.0%     5.0%  -0.69 -3.00  "20" 90.0%, "10" 5.0%
     15  "10"  0.200   100.0%   100.0%    0.00 0.00  "10" 100.0%, "+" <0.1%
"""
    )


def test_as_many_top_ids_as_fit():
    parts = ['"20" 90.0%', '"10" 5.0%', '"日" 1.0%']  # 10, 9 and 9 cells
    widths = (5, 20, 21, 31, 32)
    assert [that_fit(parts, w).count("%") for w in widths] == [1, 1, 2, 2, 3]


def test_the_last_iteration_that_has_it_is_shown(two):
    write_project(two)
    write_project(two, "i2", reflections=[reflection(idea="Of i2.")])
    assert "Of i2." in (said := shown(two, ROLLOUT_ID))
    assert said.endswith("a rollout of this id is also in i1: --iteration.\n")
    assert "idea: No ten" in (said := shown(two, ROLLOUT_ID, "--iteration", "i1"))
    assert "also in i2" in said


def test_a_group(two):
    write_project(two)
    said = shown(two, "--problem", PROBLEM_ID)
    assert f"{PROBLEM_ID}  1 of 2 correct  iteration i1, sampled by base" in said
    lines = [line.split() for line in said.splitlines()]
    first, second = [line for line in lines if line and line[0] in (ROLLOUT_ID, PEER_ID)]
    assert first[:5] == [ROLLOUT_ID, "wrong", "10", "17", "11"]
    assert second == [PEER_ID, "correct", "20", "17"]  # neither reflected on nor aligned


def test_what_is_not_there_yet_is_said(two):
    write_project(two, reflections=None, alignments=None, scores=None)
    said = shown(two, ROLLOUT_ID)
    assert "21-1=10\n" in said
    for table, stage in (("reflections", "reflect"), ("alignments", "align"), ("scores", "score")):
        assert f"{table} of i1: not there yet; `rosd {stage} i1`" in said.replace("\n", " ")
    assert "not there yet" in shown(two, "--problem", PROBLEM_ID)


def test_skipped_rollouts_say_why(two):
    lone = alignment(
        status="skipped", skip_reason="no_success", positions=[], first_token=None, quotes=None,
        teacher_context=None, weight=None,
    )  # fmt: skip
    none = reflection(
        status="skipped", skip_reason="no_success", idea=None, quotes=None, raw=None, peer_id=None
    )
    write_project(two, reflections=[none], alignments=[lone], scores=[score(rollout_id=PEER_ID)])
    said = shown(two, ROLLOUT_ID).replace("\n  ", " ")
    assert "no rollout of its group is correct, so there is no peer" in said
    assert "skipped: no rollout of its group is correct" in said
    assert "not supervised" not in said  # there is nothing to explain
    assert "Largest divergence" not in said


@pytest.mark.parametrize(
    ("status", "words"),
    [("deferred", "distill runs the teacher"), ("no_teacher", "this method has no teacher")],
)
def test_rows_without_targets(two, status, words):
    """As of score.targets none, and of sft, which has no teacher."""
    columns = ("teacher_logp", "support_ids", "support_logp", "tail_logp", "divergence")
    nothing = {name: [] for name in (*columns, "student_entropy")}
    write_project(two, scores=[score(status=status, support="none", **nothing)])
    said = shown(two, ROLLOUT_ID)
    assert words in said
    assert "- supervised; no mark" in said
    assert "\n  --------\n" in said  # 21-1=10 and the end of its line
    assert "Largest divergence" not in said


def test_the_ids_that_are_kept_to_look_at_come_before_those_of_the_support(two):
    """score.support: student has the student's ids, which need not be the teacher's likeliest."""
    top = {"teacher_top_ids": [[id_of("+")]] * 11, "teacher_top_logp": [[-0.6931472]] * 11}
    write_project(two, scores=[score(**top)])
    assert '"+" 50.0%\n' in shown(two, ROLLOUT_ID)
    hidden = {"support_ids": [], "support_logp": [], "tail_logp": []}
    write_project(two, scores=[score(**hidden, **top)])
    assert '"+" 50.0%\n' in shown(two, ROLLOUT_ID)
    write_project(two, scores=[score(**hidden)])
    assert "not stored" in shown(two, ROLLOUT_ID)


def test_a_row_that_score_leaves_out_says_so(two):
    write_project(two, scores=[score(status="negative_lift")])
    assert "not trained on: its idea makes its error likelier" in shown(two, ROLLOUT_ID)


def test_tokens_are_not_marked_with_another_tokenizer(two):
    write_project(two)
    (two / "models" / "base" / "tokenizer.json").unlink()
    said = shown(two, ROLLOUT_ID)
    assert "tokens are not marked: " in said
    assert "tokenizer.json: no such file" in said.replace("\n", "")
    assert "  21-1=10\n  ^^^^^^^\n" in said  # the quote still is


def test_model_text_cannot_steer_the_terminal(two):
    evil = "\x1b]0;owned\x07\x1b[2J\u202e"
    rows = [rollout(0, RESPONSE, False, parsed_answer=evil, feedback=evil), *rollouts()[1:]]
    write_project(
        two, rollouts=rows, reflections=[reflection(idea=evil + "[bold]x[/bold]", quotes=[evil])]
    )
    for args in ([ROLLOUT_ID], ["--problem", PROBLEM_ID]):
        said = shown(two, *args)
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f\u202e]", said)
        assert "\\x1b]0;owned" in said
    assert "[bold]x[/bold]" in shown(two, ROLLOUT_ID)  # no markup of our own either


def test_an_encoding_that_lacks_a_sign_stops_nothing(two, monkeypatch):
    write_project(two, reflections=[reflection(idea="日本")])
    monkeypatch.chdir(two)
    ran = CliRunner(charset="ascii").invoke(app, ["show", ROLLOUT_ID])
    assert ran.exit_code == 0
    assert b"idea: \\u65e5\\u672c" in ran.stdout_bytes
    assert b"21-1=10\\u21b5" in ran.stdout_bytes


def test_an_id_that_is_not_there(two):
    assert "no rollouts there yet" in refused(two, "show", ROLLOUT_ID)
    write_project(two)
    assert f"rollouts.parquet has, for example, {ROLLOUT_ID}." in refused(two, "show", "x/1")
    assert "`rosd show --problem" in refused(two, "show", PROBLEM_ID)
    assert f"`rosd show {ROLLOUT_ID}`" in refused(two, "show", "--problem", ROLLOUT_ID)
    assert "i2/rollouts.parquet: not there yet" in refused(
        two, "show", ROLLOUT_ID, "--iteration", "i2"
    )
    write_project(two, "i2", rollouts=[rollout(7, PEER, True)])
    assert "is not in iteration i2, but in i1." in refused(
        two, "show", ROLLOUT_ID, "--iteration", "i2"
    )
    assert "'i9' is not in params.yaml" in refused(two, "show", ROLLOUT_ID, "--iteration", "i9")


def test_without_an_id_one_is_suggested(two):
    assert refused(two, "show") == "name a rollout, or give --problem."
    write_project(two, "i2", scores=None)  # i1 is the last one that is scored
    both = [rollout(0, RESPONSE, False), rollout(1, RESPONSE, False)]
    rows = [alignment(), alignment(rollout_id=PEER_ID)]
    clearer = score(rollout_id=PEER_ID, divergence=[0.6, *DIVERGENCE[1:]])
    write_project(two, rollouts=both, alignments=rows, scores=[score(), clearer])
    suggested = f"name a rollout, for example `rosd show {PEER_ID}`, or give --problem."
    assert refused(two, "show") == suggested
    assert refused(two, "show", ROLLOUT_ID, "--problem", PROBLEM_ID) == suggested
    # one without a preserved prefix shows less of a correction
    rows[1] = alignment(rollout_id=PEER_ID, positions=list(range(17)), first_token=0)
    everywhere = score(
        rollout_id=PEER_ID, positions=list(range(17)), divergence=[0.6] * 17,
        behaviour_logp=[-0.1] * 17, student_logp=[-0.1] * 17, teacher_logp=[-0.1] * 17,
    )  # fmt: skip
    write_project(two, rollouts=both, alignments=rows, scores=[score(), everywhere])
    assert f"`rosd show {ROLLOUT_ID}`" in refused(two, "show")


def test_a_damaged_table_is_one_message(two):
    write_project(two)
    file = two / "iterations" / "i1" / "scores.parquet"
    file.write_bytes(file.read_bytes()[:-9])
    assert "scores.parquet: not a Parquet file, or damaged" in refused(two, "show", ROLLOUT_ID)


DESCRIBED = {
    "policy": [("alignments", "policy")],
    "score": [("scores", "status")],
    "context": [("alignments", "teacher_context")],
    "match": [("alignments", "quotes")],
    "format": [("rollouts", "answer_format")],
}


@pytest.mark.parametrize("column", WORDS)
def test_the_values_with_words_are_those_that_the_schema_describes(column):
    text = " ".join(
        (SCHEMAS[table].field(name).metadata or {})[b"description"].decode()
        for table, name in DESCRIBED[column]
    )
    assert set(WORDS[column]) <= set(re.findall("[a-z_]+", text))


def test_no_value_lacks_words():
    fields = Align.model_fields
    contexts = set(get_args(fields["teacher_context"].annotation))
    assert contexts - {"none"} == set(WORDS["context"])  # without a teacher nothing is said of it
    assert set(get_args(fields["quote_not_found"].annotation)) <= set(WORDS["policy"])
    assert set(WORDS["score"]) == set(TRAINED)
    assert set(LEFT_OUT) <= set(REASONS)
    description = (SCHEMAS["rollouts"].field("answer_format").metadata or {})[b"description"]
    assert set(description.decode().split(" | ")) == set(WORDS["format"])
