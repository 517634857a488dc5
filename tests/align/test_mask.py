"""From the characters of the errors to supervised tokens, with indices derived by hand."""

from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rosd_core.align.mask import SPANS as POLICIES
from rosd_core.align.mask import (
    end_of_step,
    first_difference,
    skipped_tokens,
    supervised_tokens,
    token_range,
)
from rosd_core.align.token_spans import TokenMap, character_spans
from rosd_core.config.training import Align
from rosd_core.pocket.oracle import line_spans
from rosd_core.pocket.world import ARITHMETIC, make_problem
from tests.support import ROOT

MAP = TokenMap.of_folder(ROOT / "models" / "base")


def tokens(mask_T):
    return np.flatnonzero(mask_T).tolist()


def test_params_know_every_policy_and_no_other():
    assert set(get_args(Align.model_fields["spans"].annotation)) == set(POLICIES)


def test_the_space_before_a_word_belongs_to_the_words_token():
    # "it is 5" sampled as "it", " is", " ", "5"; the quote "is 5" starts at character 3, inside
    # " is". Encoding the prefix "it " again gives two tokens ("it", " "), so published code starts
    # at index 2: one late.
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


def test_thinking_is_skipped_with_the_white_space_after_it():
    pieces = [b"<think>", b"1+1", b"=3", b"</think>", b"\n\n", b"2", b""]
    text, spans = character_spans(pieces)
    # "<think>1+1=3</think>" is [0, 20) = tokens 0..3, the two line breaks are token 4
    assert tokens(skipped_tokens(text, spans, True, 0)) == [0, 1, 2, 3, 4]
    assert tokens(skipped_tokens(text, spans, False, 0)) == []
    assert tokens(skipped_tokens(text, spans, False, 2)) == [0, 1]
    # the prompt opened the block: "1+1=3</think>" is tokens 0..2, "\n\n2" is one token and stays
    # out, since the white space is a part of it
    text, spans = character_spans([b"1+1", b"=3", b"</think>", b"\n\n2", b"!", b""])
    assert tokens(skipped_tokens(text, spans, True, 0)) == [0, 1, 2, 3]
    # never closed: all of it, end token included
    text, spans = character_spans([b"<think>", b"1+1", b""])
    assert tokens(skipped_tokens(text, spans, True, 0)) == [0, 1, 2]


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
    assert tokens(supervised_tokens([(8, 11), (4, 7)], RESPONSE, SPANS, policy)) == expected


def test_overlapping_spans_are_supervised_once():
    twice = supervised_tokens([(4, 7), (5, 8)], RESPONSE, SPANS, "spans")
    assert tokens(twice) == [4, 5, 6, 7]
