"""Eligibility, mask and fallback of rows."""

import math
from dataclasses import replace
from typing import Any

import pytest

from rosd_core.align.eligibility import AlignSettings
from rosd_core.align.metrics import AlignmentCounts
from rosd_core.align.rows import align_row
from rosd_core.align.token_spans import character_spans
from rosd_core.align.weights import Group

# "a=1" NL "b=2" NL "c=3" END, one token per character and an end token: 12 tokens
RESPONSE = "a=1\nb=2\nc=3"
_, SPANS = character_spans([c.encode() for c in RESPONSE] + [b""])

ROLLOUT = {
    "rollout_id": "p/0",
    "problem_id": "p",
    "response": RESPONSE,
    "response_ids": list(range(12)),
}


SETTINGS = AlignSettings(
    teacher_context="idea", no_peer="skip", mask="quote", wrong="use", correct="use",
    all_success="use", weight="one", quote_not_found="drop", spans="first_to_end",
    skip_thinking=False, skip_first=0, fuzzy_threshold=101,
)  # fmt: skip
GROUP = Group(has_reference=True, all_success=False, advantage=0.5, pass_rate=0.25)


def reflection(**changes) -> Any:
    usual = {"kind": "wrong", "status": "ok", "skip_reason": None, "raw": "", "quotes": ["b=2"]}
    usual |= {"peer_id": "p/9", "idea": "b is 9"}
    return usual | changes


def align(peer="a=1\nb=9\nAnswer: 9", settings=None, group=None, rollout: Any = ROLLOUT, **changes):
    chosen = replace(SETTINGS, **(settings or {})), replace(GROUP, **(group or {}))
    row: Any = align_row(reflection(**changes), rollout, peer, SPANS, chosen[1], chosen[0])
    return row | {"positions": list(row["positions"])}


def metrics_of(rows, true_errors):
    counts = AlignmentCounts()
    counts.add(rows, true_errors)
    return counts.metrics()


def test_eligibility_is_decided_by_status_kind_and_match():
    def brief(**arguments):
        row = align(**arguments)
        return row["status"], row["first_token"], row["policy"], row["skip_reason"]

    assert brief() == ("supervised", 4, "quote", None)
    assert brief(kind="correct", quotes=[]) == ("supervised", 0, "all", None)
    assert brief(quotes=["=4"]) == ("skipped", None, "drop", "quote_not_found")
    assert brief(settings={"quote_not_found": "whole"}, quotes=["=4"]) == (
        "supervised",
        0,
        "whole",
        None,
    )
    # the response and its peer first differ at character 6: "2" and "9"
    differ = ("supervised", 6, "from_first_difference", None)
    assert brief(settings={"quote_not_found": "from_first_difference"}, quotes=["=4"]) == differ
    assert brief(status="no_idea") == ("skipped", None, "drop", "no_idea")
    skipped = brief(status="skipped", skip_reason="no_success")
    assert skipped == ("skipped", None, "drop", "no_success")


def test_tokens_that_are_never_supervised():
    # the quote "b=2" starts at token 4, the response has 12: 4..11, less what is skipped
    assert align(settings={"skip_first": 3})["positions"] == list(range(4, 12))
    assert align(settings={"skip_first": 6})["positions"] == list(range(6, 12))
    assert align(settings={"skip_first": 6})["first_token"] == 6
    assert align(kind="correct", settings={"skip_first": 2})["positions"] == list(range(2, 12))
    none = align(settings={"skip_first": 12})
    assert (none["status"], none["skip_reason"], none["positions"]) == ("skipped", "no_token", [])


def test_rows_of_which_score_finds_the_onset():
    def brief(mask, **arguments):
        row = align(settings={"mask": mask}, **arguments)
        return len(row["positions"]), row["policy"], row["skip_reason"]

    whole = (12, "divergence", None)  # all tokens of the response, until it is scored
    assert brief("divergence") == whole
    assert brief("divergence", quotes=["=4"]) == whole
    assert brief("divergence", kind="correct", quotes=[]) == (12, "all", None)
    assert brief("divergence", status="no_idea", idea=None) == (0, "drop", "no_idea")
    # quotes go first: "b=2" starts at token 4 of 12
    assert brief("quote_or_divergence") == (8, "quote", None)
    assert brief("quote_or_divergence", quotes=["=4"]) == whole
    assert brief("quote_or_divergence", quotes=["zzz", "c=3"]) == whole
    assert brief("quote_or_divergence", status="no_quote", quotes=[]) == whole
    assert brief("quote_or_divergence", status="no_idea", idea=None) == (0, "drop", "no_idea")
    unquoted = align(settings={"mask": "quote_or_divergence"}, status="no_quote", quotes=[])
    assert unquoted["quotes"] is None


NOTHING = {"status": "skipped", "skip_reason": "disabled", "idea": None, "quotes": None}
OPSD = {"teacher_context": "reference", "mask": "all"}
SDPO = {"teacher_context": "peer", "mask": "all"}
FEEDBACK = {"teacher_context": "feedback", "mask": "all"}
FEEDBACK_PEER = {"teacher_context": "feedback_peer", "mask": "all"}
INSTEAD = {"no_peer": "reference"}
CRITIQUE = {"teacher_context": "critique"}
SFT = {"teacher_context": "none", "mask": "all", "wrong": "skip"}
GRPO = {"teacher_context": "none", "mask": "all", "weight": "advantage"}
NO_IDEA = {"teacher_context": "peer"}
NO_REFERENCE = {"has_reference": False}


@pytest.mark.parametrize(
    ("settings", "changes", "expected"),
    [
        ({}, {}, ("idea", 4)),
        ({"mask": "all"}, {}, ("idea", 0)),
        ({"mask": "all"}, {"status": "no_quote", "quotes": []}, ("idea", 0)),
        (NO_IDEA, {}, ("peer", 4)),
        (NO_IDEA, {"status": "no_idea", "idea": None}, ("peer", 4)),
        (NO_IDEA, {"kind": "correct", "quotes": []}, ("peer", 0)),
        (NO_IDEA, {"kind": "correct", "quotes": [], "peer_id": None}, "lone_success"),
        (NO_IDEA, {"status": "no_quote", "quotes": []}, "no_quote"),
        (SDPO, NOTHING, ("peer", 0)),
        (SDPO, NOTHING | {"peer_id": None}, "no_success"),
        (OPSD, NOTHING | {"peer_id": None}, ("reference", 0)),
        (OPSD, NOTHING | {"group": NO_REFERENCE}, ("peer", 0)),
        (OPSD, NOTHING | {"group": NO_REFERENCE, "peer_id": None}, "no_success"),
        (FEEDBACK, NOTHING, ("feedback", 0)),
        (FEEDBACK, NOTHING | {"peer_id": None}, ("feedback", 0)),  # a group without success
        (FEEDBACK, NOTHING | {"kind": "correct"}, "no_feedback"),
        (FEEDBACK | {"mask": "quote"}, {}, ("feedback", 4)),
        (FEEDBACK_PEER, NOTHING, ("feedback_peer", 0)),
        (FEEDBACK_PEER, NOTHING | {"peer_id": None}, ("feedback", 0)),
        (FEEDBACK_PEER, NOTHING | {"kind": "correct"}, ("peer", 0)),
        (FEEDBACK_PEER, NOTHING | {"kind": "correct", "peer_id": None}, "lone_success"),
        # reflected on beside the data's solution (reflect.no_success): no peer, but idea and quote
        ({}, {"peer_id": None}, ("idea", 4)),
        (NO_IDEA, {"peer_id": None}, "no_success"),
        (CRITIQUE, {"peer_id": None}, ("critique", 4)),
        # align.no_peer: the reference in place of a peer, where the data have one
        (SDPO | INSTEAD, NOTHING | {"peer_id": None}, ("reference", 0)),
        (SDPO | INSTEAD, NOTHING, ("peer", 0)),
        (SDPO | INSTEAD, NOTHING | {"kind": "correct", "peer_id": None}, ("reference", 0)),
        (SDPO | INSTEAD, NOTHING | {"peer_id": None, "group": NO_REFERENCE}, "no_success"),
        (
            SDPO | INSTEAD,
            NOTHING | {"kind": "correct", "peer_id": None, "group": NO_REFERENCE},
            "lone_success",
        ),
        (FEEDBACK_PEER | INSTEAD, NOTHING | {"peer_id": None}, ("reference", 0)),
        (FEEDBACK_PEER | INSTEAD, NOTHING, ("feedback_peer", 0)),
        (
            FEEDBACK_PEER | INSTEAD,
            NOTHING | {"peer_id": None, "group": NO_REFERENCE},
            ("feedback", 0),
        ),
        # with a mask of quotes it needs a reflection, too (reflect.no_success)
        (NO_IDEA | INSTEAD, {"peer_id": None}, ("reference", 4)),
        (
            NO_IDEA | INSTEAD,
            NOTHING | {"peer_id": None, "skip_reason": "no_success"},
            "no_success",
        ),
        (CRITIQUE, {}, ("critique", 4)),
        (CRITIQUE | {"mask": "all"}, {}, ("critique", 0)),
        (CRITIQUE, {"kind": "correct", "quotes": []}, ("critique", 0)),
        (CRITIQUE | {"mask": "all"}, {"kind": "correct", "quotes": []}, ("critique", 0)),
        (CRITIQUE | {"mask": "all"}, {"quotes": ["zzz"]}, "quote_not_found"),
        (CRITIQUE | {"mask": "all"}, {"quotes": ["zzz", "c=3"]}, "first_quote_not_found"),
        (CRITIQUE | {"quote_not_found": "whole"}, {"quotes": ["zzz"]}, "quote_not_found"),
        (CRITIQUE | {"spans": "spans"}, {"quotes": ["zzz", "c=3"]}, "first_quote_not_found"),
        (CRITIQUE | {"mask": "all"}, {"status": "no_quote", "quotes": []}, "no_quote"),
        (CRITIQUE, {"status": "no_idea", "idea": None}, "no_idea"),
        (CRITIQUE, NOTHING, "disabled"),
        (SFT, NOTHING | {"kind": "correct"}, ("none", 0)),
        (SFT, NOTHING, "wrong"),
        (GRPO, NOTHING, ("none", 0)),
        ({"teacher_context": "plain", "mask": "all"}, NOTHING | {"peer_id": None}, ("plain", 0)),
        (GRPO, NOTHING | {"group": {"advantage": None}}, "no_contrast"),
        ({"weight": "pass_rate"}, {}, ("idea", 4)),
        ({"weight": "pass_rate"}, {"group": {"pass_rate": 0.0}}, "no_contrast"),
        ({"weight": "pass_rate"}, {"kind": "correct", "group": {"pass_rate": 1.0}}, "no_contrast"),
        ({}, NOTHING, "disabled"),
        ({"correct": "skip"}, {"kind": "correct", "quotes": []}, "correct"),
        (
            {"all_success": "skip"},
            {"kind": "correct", "quotes": [], "group": {"all_success": True}},
            "all_success",
        ),
    ],
)
def test_methods_are_settings_of_context_and_mask(settings, changes, expected):
    row = align(settings=settings, **changes)
    if isinstance(expected, str):
        assert (row["status"], row["skip_reason"], row["teacher_context"]) == (
            "skipped",
            expected,
            None,
        )
    else:
        assert (row["teacher_context"], row["first_token"]) == expected


def test_the_row_carries_its_weight():
    assert align(settings=GRPO)["weight"] == 0.5
    assert align(settings={"weight": "pass_rate"})["weight"] == pytest.approx(math.sqrt(3) / 4)
    assert align()["weight"] == 1.0


def test_all_quotes_are_stored_and_the_earliest_is_the_start():
    row = align(quotes=["c=3", "zzz", "b=2"])
    assert [(q["match"], q["char_start"]) for q in row["quotes"] or []] == [
        ("exact", 8),
        ("none", None),
        ("exact", 4),
    ]
    assert row["positions"] == list(range(4, 12))


def test_a_later_quote_does_not_replace_the_first():
    lost = align(quotes=["zzz", "c=3"])
    assert (lost["status"], lost["skip_reason"]) == ("skipped", "first_quote_not_found")
    # the fallback is that of a quote that is not found: character 6 is the first difference
    other = align(quotes=["zzz", "c=3"], settings={"quote_not_found": "from_first_difference"})
    assert (other["first_token"], other["policy"]) == (6, "from_first_difference")
    # quotes alone are supervised: "c=3" is tokens 8, 9 and 10
    assert align(quotes=["zzz", "c=3"], settings={"spans": "spans"})["positions"] == [8, 9, 10]
    rows = [lost, align(quotes=["zzz"]), align(quotes=["b=2", "zzz"])]
    assert metrics_of(rows, {})["first_quote_not_found"] == 1


def test_a_quote_of_unknown_end_goes_to_the_end_of_its_step():
    # the line starts at token 4 (one a character) and has 23 characters; the quote goes on
    text = "a=1\nTom has 3 red balls now\nc=3"
    _, spans = character_spans([c.encode() for c in text] + [b""])
    quotes = ["Tom has 3 red balls (he has four of them)"]
    rollout: Any = ROLLOUT | {"response": text, "response_ids": list(range(len(text) + 1))}
    for policy, last in (("spans", 26), ("first_to_end_of_step", 26), ("first_to_end", 31)):
        settings = replace(SETTINGS, spans=policy)
        row = align_row(reflection(quotes=quotes), rollout, None, spans, GROUP, settings)
        assert [(q["match"], q["char_start"], q["char_end"]) for q in row["quotes"] or []] == [
            ("head", 4, 23)
        ]
        assert list(row["positions"]) == list(range(4, last + 1))


def test_metrics_count_found_and_true():
    rows = [align(), align(rollout=ROLLOUT | {"rollout_id": "p/1"}, quotes=["no"])]
    metrics = metrics_of(rows, {"p/0": (4, 7), "p/1": (0, 3)})
    assert metrics["quote_found_share"] == 0.5
    assert metrics["quote_true_share"] == 0.5
    assert (metrics["quotes"], metrics["quote_exact"], metrics["quote_none"]) == (2, 1, 1)
    assert metrics["mean_start"] == 4 / 12
    assert metrics["supervised_token_share"] == 8 / 24  # tokens 4..11 of the first of two rows


def test_where_no_error_is_known_no_share_of_true_quotes_is_claimed():
    metrics = metrics_of([align()], {})
    assert (metrics["quote_found_share"], metrics["quote_true_share"]) == (1, None)
    assert metrics_of([align(kind="correct")], {})["quote_found_share"] is None
