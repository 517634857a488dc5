"""Tokens as the browser counts them, and what is embedded."""

import base64
import gzip
import json
import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rosd_core.align.token_spans import TokenMap
from rosd_core.report.page.choose import choose_problems
from rosd_core.report.page.page import as_script
from rosd_core.report.page.payload import Codes, pack
from rosd_core.report.page.tokens import (
    Vocabulary,
    milli,
    milli_lists,
    supervised,
    token_ends,
    utf16_offsets,
)
from tests.support import ROOT


def test_offsets_by_hand():
    # the face is a pair of surrogates in UTF-16, the umlaut is one unit
    assert utf16_offsets("aä😀b").tolist() == [0, 1, 2, 4, 5]
    assert utf16_offsets("").tolist() == [0]


@given(st.text(max_size=50))
def test_offsets_are_those_of_utf16(text):
    offsets = utf16_offsets(text)
    for c in range(len(text) + 1):
        assert offsets[c] == len(text[:c].encode("utf-16-le", "surrogatepass")) // 2


def test_tokens_end_where_the_next_one_begins():
    # "a😀b": a, half of the face, its other half, b, and the end token without text
    spans_T2 = np.array([[0, 1], [1, 2], [1, 2], [2, 3], [3, 3]])
    assert token_ends(spans_T2, utf16_offsets("a😀b")) == [1, 3, 3, 4, 4]
    assert token_ends(np.empty((0, 2), int), utf16_offsets("")) == []


def test_thousandths_of_a_nat():
    assert milli([-0.0004, -0.6931, -math.inf, 0.0]) == [0, -693, -999999, 0]
    assert milli_lists([[-0.0014, 1.0], [], [-math.inf]]) == [[-1, 1000], [], [-999999]]


def test_the_columns_of_the_supervised_tokens():
    vocabulary = Vocabulary(TokenMap.of_folder(ROOT / "models" / "base"))
    ids = vocabulary.token_map.tokenizer.encode("11", add_special_tokens=False).ids
    end = vocabulary.token_map.tokenizer.token_to_id("<|im_end|>")
    row = {
        "response_ids": [7, *ids, end], "positions": [1, 2], "divergence": [0.25, 0.0],
        "student_logp": [math.log(0.5), 0.0], "teacher_logp": [math.log(0.25), 0.0],
        "student_top_ids": [[ids[0], end]] * 2, "student_top_logp": [[-0.5, -1.5]] * 2,
        "teacher_top_ids": [[end, ids[0]]] * 2, "teacher_top_logp": [[-0.1, -3.0]] * 2,
    }  # fmt: skip
    entry = supervised(row, vocabulary)
    assert entry["at"] == [1, 2]
    assert entry["divergence"] == [250, 0]
    assert (entry["student"], entry["teacher"]) == ([-693, 0], [-1386, 0])
    assert [vocabulary.strings[n] for n in entry["token"]] == ['"11"', "<|im_end|>"]
    assert [vocabulary.strings[n] for n in entry["teacher_top"][0]] == ["<|im_end|>", '"11"']
    assert entry["teacher_top_logp"][0] == [-100, -3000]


def test_what_is_packed_comes_back():
    data = {"text": "</script>\u202e\x00😀\ud800", "numbers": [1, None, 0.5]}
    raw = gzip.decompress(base64.b64decode(pack(data)))
    assert json.loads(raw.decode("utf-8", "surrogatepass")) == data
    assert pack(data) == pack(data)


def test_codes_name_each_string_once():
    codes = Codes()
    assert [codes.code(name) for name in ("b", "a", None, "b")] == [0, 1, -1, 0]
    assert codes.names == ["b", "a"]


def test_no_text_ends_a_script():
    text = as_script({"a": "</script><script>alert(1)</script>", "b": "<!--"})
    assert "<" not in text
    assert json.loads(text)["b"] == "<!--"


@pytest.mark.parametrize(("budget", "count"), [(1, 1), (250, 2), (299, 2), (300, 3), (1e9, 3)])
def test_problems_fill_the_budget_whole(budget, count):
    """Each of three problems has 40 + 40 characters and a token of 12 bytes, and 8 in another
    iteration: 100 bytes.
    """
    rows = pl.DataFrame(
        {
            "problem_id": ["a", "b", "c"] * 3,
            "characters": [40] * 6 + [8] * 3,
            "tokens": [1] * 3 + [0] * 6,
            "supervised": [0] * 9,
        }
    )
    chosen = choose_problems(rows, budget, 5)
    assert len(chosen) == count
    assert chosen <= choose_problems(rows, budget + 100, 5)  # more room never takes a problem away
