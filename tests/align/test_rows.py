"""From quotes to supervised tokens, with indices derived by hand."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rosd_core.align.eligibility import AlignSettings, Group, advantages
from rosd_core.align.mask import end_of_step, first_difference, supervised_tokens, token_range
from rosd_core.align.metrics import alignment_metrics
from rosd_core.align.rows import align_row
from rosd_core.align.token_spans import TokenMap, character_spans
from rosd_core.pocket.oracle import line_spans
from rosd_core.pocket.world import ARITHMETIC, make_problem
from tests.support import ROOT

MAP = TokenMap.of_folder(ROOT / "models" / "base")


def test_the_space_before_a_word_belongs_to_the_words_token():
    # "it is 5" sampled as "it", " is", " ", "5"; the quote "is 5" starts at character 3, inside
    # " is". Encoding the prefix "it " again gives two tokens ("it", " "), so published code starts
    # at index 2: one late (defect 1).
    _, spans = character_spans([b"it", b" is", b" ", b"5"])
    assert token_range(spans, (3, 7)) == (1, 4)


def test_a_non_canonical_sample_is_not_encoded_again():
    # "37+25" sampled digit by digit: "3" "7" "+" "2" "5"; "25" starts at character 3 = token 3.
    # The tokenizer itself would write "37" "+" "25": the prefix "37+" has 2 tokens, one early.
    _, spans = character_spans([b"3", b"7", b"+", b"2", b"5"])
    assert token_range(spans, (3, 5)) == (3, 5)


def test_a_token_without_text_is_never_first():
    _, spans = character_spans([b"", b"a", b""])
    assert token_range(spans, (0, 1)) == (1, 2)
    assert token_range(spans, (1, 1)) == (3, 3)  # nothing is there


def test_a_character_cut_in_two_starts_at_its_first_byte():
    euro = "€".encode()  # E2 | 82 AC
    text, spans = character_spans([b"a", euro[:1], euro[1:], b"b"])
    assert text == "a€b"
    assert spans.tolist() == [[0, 1], [1, 2], [1, 2], [2, 3]]
    assert token_range(spans, (1, 2)) == (1, 3)


@st.composite
def sampled(draw):
    """A solution as ids that need not be canonical: cut anywhere, encoded in pieces."""
    problem = make_problem(draw(st.integers(0, 999)), draw(st.sampled_from(ARITHMETIC)), "train", 0)
    text = problem.solution
    cuts = sorted(draw(st.sets(st.integers(1, len(text) - 1), max_size=8)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    return text, [i for piece in pieces for i in MAP.tokenizer.encode(piece).ids]


@settings(max_examples=200)
@given(sampled(), st.data())
def test_exact_on_the_pocket_tokenizer_for_any_segmentation(case, data):
    text, ids = case
    start, end = data.draw(st.sampled_from(list(line_spans(text))))
    first, after = token_range(MAP.spans(ids, text), (start, end))
    assert len(MAP.decode(ids[:first])) <= start < len(MAP.decode(ids[: first + 1]))
    assert len(MAP.decode(ids[: after - 1])) < end <= len(MAP.decode(ids[:after]))


def test_steps_are_lines():
    assert end_of_step("a=1\nb=2\nc", 5) == 7
    assert end_of_step("a=1\nb=2\nc", 8) == 9


def test_the_first_difference():
    assert first_difference("37+25=52", "37+25=62") == 6
    assert first_difference("37", "37+25=62") == 2


# "a=1" NL "b=2" NL "c=3" END, one token per character and an end token: 12 tokens
RESPONSE = "a=1\nb=2\nc=3"
_, SPANS = character_spans([c.encode() for c in RESPONSE] + [b""])


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("first_to_end", [4, 5, 6, 7, 8, 9, 10, 11]),  # from "b", end token included
        ("spans", [4, 5, 6, 8, 9, 10]),  # "b=2" and "c=3"
        ("first_to_end_of_step", [4, 5, 6]),  # "b=2" without its newline
    ],
)
def test_what_the_span_policies_supervise(policy, expected):
    # the quotes come in any order; the earliest counts as the first error
    assert supervised_tokens([(8, 11), (4, 7)], RESPONSE, SPANS, policy) == expected


def test_overlapping_spans_are_supervised_once():
    assert supervised_tokens([(4, 7), (5, 8)], RESPONSE, SPANS, "spans") == [4, 5, 6, 7]


ROLLOUT = {
    "rollout_id": "p/0",
    "problem_id": "p",
    "response": RESPONSE,
    "response_ids": list(range(12)),
}


SETTINGS = AlignSettings(
    teacher_context="idea", mask="quote", wrong="use", correct="use", all_success="use",
    weight="one", quote_not_found="drop", spans="first_to_end", fuzzy_threshold=101,
)  # fmt: skip
GROUP = Group(has_reference=True, all_success=False, advantage=0.5)


def reflection(**changes) -> Any:
    usual = {"kind": "wrong", "status": "ok", "skip_reason": None, "raw": "", "quotes": ["b=2"]}
    usual |= {"peer_id": "p/9", "idea": "b is 9"}
    return usual | changes


def align(peer="a=1\nb=9\nAnswer: 9", settings=None, group=None, rollout: Any = ROLLOUT, **changes):
    chosen = replace(SETTINGS, **(settings or {})), replace(GROUP, **(group or {}))
    return align_row(reflection(**changes), rollout, peer, SPANS, chosen[1], chosen[0])


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


NOTHING = {"status": "skipped", "skip_reason": "disabled", "idea": None, "quotes": None}
OPSD = {"teacher_context": "reference", "mask": "all"}
SDPO = {"teacher_context": "peer", "mask": "all"}
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
        (SFT, NOTHING | {"kind": "correct"}, ("none", 0)),
        (SFT, NOTHING, "wrong"),
        (GRPO, NOTHING, ("none", 0)),
        (GRPO, NOTHING | {"group": {"advantage": None}}, "no_contrast"),
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


def test_advantages_by_hand():
    # rewards 1, 0, 0, 0: mean 1/4, variance (9 + 1 + 1 + 1) / 16 / 4 = 3/16
    found = advantages({"p": {"a": 1.0, "b": 0.0, "c": 0.0, "d": 0.0}, "q": {"e": 1.0, "f": 1.0}})
    assert found["a"] == pytest.approx(0.75 / (3 / 16) ** 0.5)
    assert found["b"] == pytest.approx(-0.25 / (3 / 16) ** 0.5)
    assert (found["e"], found["f"]) == (None, None)
    assert align(settings=GRPO)["weight"] == 0.5
    assert align()["weight"] == 1.0


def test_all_quotes_are_stored_and_one_that_is_found_is_enough():
    row = align(quotes=["zzz", "c=3", "b=2"])
    assert [(q["match"], q["char_start"]) for q in row["quotes"] or []] == [
        ("none", None),
        ("exact", 8),
        ("exact", 4),
    ]
    assert row["positions"] == list(range(4, 12))


def test_metrics_count_found_and_true():
    rows = [align(), align(rollout=ROLLOUT | {"rollout_id": "p/1"}, quotes=["no"])]
    metrics = alignment_metrics(rows, {"p/0": (4, 7), "p/1": (0, 3)})
    assert metrics["quote_found_share"] == 0.5
    assert metrics["quote_true_share"] == 0.5
    assert (metrics["quotes"], metrics["quote_exact"], metrics["quote_none"]) == (2, 1, 1)
    assert metrics["mean_start"] == 4 / 12
    assert metrics["supervised_token_share"] == 8 / 24  # tokens 4..11 of the first of two rows
