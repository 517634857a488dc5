"""What became of each rollout, and the funnel, from tables of a few rows."""

from itertools import pairwise

import polars as pl
import pytest

from rosd_core.distill.targets import LEFT_OUT
from rosd_core.report.page.funnel import found_quotes, funnel, tokens
from rosd_core.report.page.outcomes import STEPS, TRAINED, outcomes, step_of
from rosd_core.report.page.reasons import REASONS, in_words
from rosd_core.tables.schemas import SCHEMAS

QUOTE = pl.List(pl.Struct({"match": pl.String}))
# id, success, alignments: status, skip_reason, matches; positions; scores.status
ROWS = [
    ("p/0", True, "skipped", "correct", None, [], None),
    ("p/1", False, "supervised", None, ["exact", "none"], [3, 4], "scored"),
    ("p/2", False, "supervised", None, ["fuzzy"], [5], "too_long"),
    ("p/3", False, "skipped", "quote_not_found", ["none"], [], None),
    ("p/4", False, "skipped", "no_idea", None, [], None),
    ("q/0", False, "skipped", "no_success", None, [], None),
    ("q/1", False, "skipped", "no_success", None, [], None),
    ("r/0", False, "skipped", "no_contrast", None, [], None),
]


@pytest.fixture
def tables() -> dict[str, pl.DataFrame]:
    ids = [row[0] for row in ROWS]
    quotes = [row[4] and [{"match": match} for match in row[4]] for row in ROWS]
    scored = [row for row in ROWS if row[6]]
    return {
        "rollouts": pl.DataFrame(
            {
                "rollout_id": ids,
                "problem_id": [i[0] for i in ids],
                "sample": [int(i[2]) for i in ids],
                "success": [row[1] for row in ROWS],
                "reward": [float(row[1]) for row in ROWS],
            }
        ),
        "reflections": pl.DataFrame({"rollout_id": ids}),
        "alignments": pl.DataFrame(
            {
                "rollout_id": ids,
                "teacher_context": ["idea" if row[2] == "supervised" else None for row in ROWS],
                "policy": ["quote" if row[2] == "supervised" else "drop" for row in ROWS],
                "status": [row[2] for row in ROWS],
                "skip_reason": [row[3] for row in ROWS],
                "quotes": pl.Series(quotes, dtype=QUOTE),
                "response_tokens": [10] * len(ROWS),
                "positions": pl.Series([row[5] for row in ROWS], dtype=pl.List(pl.Int32)),
            }
        ),
        "scores": pl.DataFrame(
            {
                "rollout_id": [row[0] for row in scored],
                "status": [row[6] for row in scored],
                "positions": [row[5] if row[6] == "scored" else [] for row in scored],
                "divergence": pl.Series([[0.1, 0.4], []], dtype=pl.List(pl.Float32)),
            }
        ),
    }


def test_each_rollout_has_one_outcome(tables):
    rows = outcomes(tables)
    assert rows.select("step", "reason").rows() == [
        ("select", "correct"),
        (None, None),
        ("score", "too_long"),
        ("locate", "quote_not_found"),
        ("parse", "no_idea"),
        ("reflect", "no_success"),
        ("reflect", "no_success"),
        ("select", "no_contrast"),
    ]
    assert rows["match"].to_list()[:4] == [None, "exact", "fuzzy", "none"]
    assert rows["supervised"].to_list() == [0, 2, 0, 0, 0, 0, 0, 0]
    assert rows["divergence"].to_list()[1:3] == [pytest.approx(0.4), None]


def test_the_funnel_by_hand(tables):
    """7 wrong: 2 without a peer, 1 unreadable, 1 quote missing, 1 of equal rewards, 1 too long."""
    bars = funnel(outcomes(tables), "wrong")
    assert [(bar["label"], bar["rows"]) for bar in bars] == [
        ("wrong", 7), ("reflected on", 5), ("reflection readable", 4), ("quote found", 3),
        ("supervised", 2), ("trained on", 1),
    ]  # fmt: skip
    assert bars[1]["lost"] == [{"reason": "no_success", "rows": 2}]
    assert [lost["reason"] for bar in bars[2:] for lost in bar["lost"]] == [
        "no_idea", "quote_not_found", "no_contrast", "too_long",
    ]  # fmt: skip
    for before, bar in pairwise(bars):
        assert before["rows"] == bar["rows"] + sum(lost["rows"] for lost in bar["lost"])
    correct = funnel(outcomes(tables), "correct")
    assert [(bar["label"], bar["rows"]) for bar in correct] == [
        ("correct", 1), ("supervised", 0), ("trained on", 0),
    ]  # fmt: skip


def test_quotes_and_tokens_by_hand(tables):
    rows = outcomes(tables)
    assert found_quotes(rows) == [
        {"match": "exact", "rows": 1}, {"match": "fuzzy", "rows": 1}, {"match": "none", "rows": 1},
    ]  # fmt: skip
    assert tokens(rows) == {
        "wrong": 70, "wrong_supervised": 2, "correct": 10, "correct_supervised": 0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("there", "step"), [(1, "reflect"), (2, "select"), (3, "score")], ids=["rollouts", "2", "3"]
)
def test_what_has_not_run_yet_is_no_loss_of_its_own(tables, there, step):
    found = outcomes({name: tables[name] for name in list(tables)[:there]})
    assert found.filter(pl.col("reason") == "not_yet")["step"].unique().to_list() == [step]
    assert len(found) == len(ROWS)
    assert len(funnel(found, "wrong")) > 1


def test_what_is_trained_on_is_what_distill_takes():
    described = (SCHEMAS["scores"].field("status").metadata or {})[b"description"].decode()
    statuses = {word for word in described.replace("(", " ").split() if word.islower()}
    assert set(TRAINED) | set(LEFT_OUT) <= statuses
    assert set(TRAINED).isdisjoint(LEFT_OUT)
    assert {part.split()[0] for part in described.split(";")[0].split("|")} == {
        *TRAINED, *LEFT_OUT,
    }  # fmt: skip


def test_every_reason_of_the_tables_has_words():
    """The reasons that the dictionary of the tables names; `supervised` and the like are none."""
    described = " ".join(
        (SCHEMAS[table].field(column).metadata or {})[b"description"].decode()
        for table, column in (
            ("reflections", "skip_reason"), ("alignments", "skip_reason"), ("scores", "status"),
        )
    )  # fmt: skip
    words = set(described.replace("|", " ").replace(",", " ").replace("(", " ").split())
    assert {"no_success", "quote_not_found", "too_long"} <= words & set(REASONS)
    named = {word for word in words if "_" in word and "." not in word}
    assert named - set(REASONS) - {"no_teacher", "idea_gain", "pass_rate", "skip_reason"} == set()
    assert in_words("something_new") == "something_new"
    assert {step_of(reason) for reason in REASONS} <= set(STEPS)
