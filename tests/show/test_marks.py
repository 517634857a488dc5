"""Marks below a response, by hand."""

import io

import numpy as np
import pytest
from rich.console import Console

from rosd_core.align.token_spans import TokenMap
from rosd_core.show.marks import MOST, Marks, Sign, marked, rows, signs, tenths
from rosd_core.show.tokens import token_name
from tests.show.support import DIVERGENCE, END, RESPONSE, TOKENIZER, id_of, ids_of


def marks_of(text: str, positions: list[int], divergence: list[float] | None) -> Marks:
    tokens, ids = TokenMap(TOKENIZER), ids_of(text)
    names = [None] * (len(ids) - 1) + ["<|im_end|>"]
    return Marks(tokens.spans(ids, text), names, positions, divergence)


def test_the_marks_of_a_response():
    marks = marks_of(RESPONSE, list(range(6, 17)), DIVERGENCE)
    assert marked(signs(RESPONSE, [(8, 15)], marks), 80).plain == (
        "12+9=21\n"  # the valid prefix: no mark
        "21-1=10↵\n"  # its end of line is token 11, supervised
        "^^^^^^^\n"
        "00000770\n"  # `10`: 0.5 nats of 0.693 are 7.2 tenths; the end of line: 0.01 are 0.1
        "Answer: 10<|im_end|>\n"
        "00000000220000000000\n"  # `10`: 0.2 nats are 2.9 tenths
    )


def test_without_scores_supervised_tokens_are_marked_all_the_same():
    marks = marks_of(RESPONSE, [6, 16], None)
    assert marked(signs(RESPONSE, [], marks), 80).plain == (
        "12+9=21\n21-1=10\n--\nAnswer: 10<|im_end|>\n          ----------\n"
    )


def test_without_tokens_the_quote_alone_is_marked():
    assert marked(signs("a b c", [(2, 3)], None), 80).plain == "a b c\n  ^\n"


@pytest.mark.parametrize(
    ("nats", "digit"), [(0.0, "0"), (0.069, "0"), (0.07, "1"), (MOST, "9"), (-1e-9, "0")]
)
def test_tenths(nats, digit):
    assert tenths(nats) == digit


def test_a_row_is_never_wider_than_the_terminal_and_marks_stay_below_their_text():
    wide = np.array([[0, 2], [2, 3], [3, 4]])  # three tokens, of 2, 1 and 1 characters
    marks = Marks(wide, [None] * 3, [0, 2], [MOST, 0.0])
    # each of these characters takes two cells: two fit into five
    assert marked(signs("日本語x", [(2, 4)], marks), 5).plain == "日本\n9999\n語x\n^^^\n  0\n"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x1b[31mb", "a\\x1b[31mb"),
        ("\u202eabc", "\\u202eabc"),
        ("a\rb", "a\\rb"),
        ("a\tb", "a    b"),
    ],
)
def test_a_response_cannot_steer_the_terminal(text, shown):
    whole = Marks(np.array([[0, len(text)]]), [None], [0], [0.0])
    first, below, _ = marked(signs(text, [], whole), 80).plain.split("\n")
    assert (first, below) == (shown, "0" * len(shown))


def test_colours_say_the_same_as_the_signs():
    assert Sign("a", False, "").style == "dim"
    assert Sign("a", True, "").style == "underline dim"
    assert Sign("a", False, "0").style == Sign("a", False, "-").style == ""
    shades = [Sign("a", False, str(level)).style for level in range(10)]
    assert [shades.index(s) for s in dict.fromkeys(shades)] == [0, 1, 4, 7]


def test_without_colour_the_text_is_the_same():
    text = marked(signs(RESPONSE, [(8, 15)], marks_of(RESPONSE, [10], [0.5])), 80)
    shown = []
    for colour in (None, "truecolor"):
        out = io.StringIO()
        Console(file=out, color_system=colour, force_terminal=colour is not None).print(text)
        shown.append(out.getvalue())
    assert "\x1b" not in shown[0]
    assert "\x1b[" in shown[1]


def test_rows_keep_every_character():
    found = rows(signs("abcdef", [], None), 4)
    assert ["".join(sign.text for sign in row) for row in found] == ["abcd", "ef"]


def test_names_of_tokens():
    tokens = TokenMap(TOKENIZER)
    assert token_name(tokens, id_of("21")) == '"21"'
    assert token_name(tokens, id_of("\n")) == '"\\n"'
    assert token_name(tokens, id_of(" ")) == '" "'
    assert token_name(tokens, END) == "<|im_end|>"
    assert token_name(tokens, 10**6) == "id 1000000"
    parts = ids_of("é")[:-1]  # c3 a9 in UTF-8
    assert [token_name(tokens, i) for i in parts] == ["<c3>", "<a9>"]
