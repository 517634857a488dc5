"""Quotes as models write them, and where they are."""

import time
import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rosd_core.align.cuts import splits_word
from rosd_core.align.effort import PLACES
from rosd_core.align.find_quote import find_quote
from rosd_core.align.fold import fold
from rosd_core.align.fuzzy import nearest_substring
from rosd_core.align.rows import find_quotes
from rosd_core.reflect.parse import MOST_QUOTES


def find(quote, response, rest="", threshold=80.0):
    return find_quote(quote, response, rest, threshold)


RESPONSE = (
    "He pays 20000*.1=$<<20000*.1=2000>>2000 tax.\n"
    "So he pays **2000 + 1000** = $3,000 — for the “cars”.\n"
    "Thus $x \\times 2 = \\frac{1}{2}$ and the café costs 5·3 = 15\n"
    "A: 36000"
)


@pytest.mark.parametrize(
    ("quote", "match", "start"),
    [
        ("So he pays", "exact", "So he"),
        ("So he  pays\n**2000+1000**", "normalised", "So he"),  # white space
        ("So he pays 2000 + 1000 = $3,000", "normalised", "So he"),  # Markdown left out
        ("“He pays 20000*.1=$2000 tax.”", "normalised", "He pays"),  # annotation left out, quoted
        ("`A: 36000`.", "normalised", "A: 36000"),  # backticks and a full stop
        ('= $3000 - for the "cars"', "normalised", "= $3,000"),  # dash, quote marks, thousands
        ("SO HE PAYS", "normalised", "So he"),  # case
        ("\\(x × 2 = \\dfrac{1}{2}\\)", "normalised", "$x \\times"),  # LaTeX delimiters and signs
        (unicodedata.normalize("NFD", "café costs 5×3"), "normalised", "café"),  # Unicode forms
        ("He pays ... tax", "ellipsis", "He pays"),
        ("So he […] cars", "ellipsis", "So he"),
        ("So he paid 2000 + 1000 = $3,000", "fuzzy", "So he"),
        ("He 20000*.1=$2000 tax.", "fuzzy", "He pays"),  # a word is missing near the start
    ],
)
def test_what_is_found_and_how(quote, match, start):
    found = find(quote, RESPONSE)
    assert found is not None
    assert (found.match, found.span[0]) == (match, RESPONSE.index(start))


@pytest.mark.parametrize("quote", ["", " ", "...", '""', "She sold the house", "A: 47", "9"])
def test_what_is_not_there_is_not_found(quote):
    assert find(quote, RESPONSE) is None


def test_fuzzy_matching_can_be_switched_off():
    assert find("So he paid 2000 + 1000 = $3,000", RESPONSE, threshold=101) is None


def place(quote, response, rest=""):
    found = find(quote, response, rest)
    assert found is not None
    return found


def test_the_cleanest_cut_wins_over_the_first():
    # "5+3=8" is also inside "15+3=8"; "x=5" is also the end of a longer line
    assert place("5+3=8", "15+3=8\n5+3=8\n").span == (7, 12)
    assert place("x=5", "so x=5\nx=5").span == (7, 10)
    assert place("5+3=8", "15+3=8").span == (1, 6)  # better than nothing


@pytest.mark.parametrize(
    ("quote", "response", "there"),
    [
        # a number is cut in the first line: later kinds of match are cleaner
        ("x = 1", "So x = 15.\nHence x =  1 and", "x =  1"),
        ("2**3 = 8", "so 23 = 8.\nNow 2 ** 3 = 8", "2 ** 3 = 8"),  # ** is a power, not Markdown
        ("4 + 4 = 9", "14 + 4 = 98\nThen **4** + 4 = 9.", "4** + 4 = 9"),
        ("1 1/2 cups", "11/2 cups, then 1 1/2  cups", "1 1/2  cups"),  # one and a half
        ("costs 3", "it costs 3.5 or so; it costs 3 today", "costs 3"),  # 3.5 is not 3
        # more alike as a whole, but of other numbers: not the first line
        (
            "She pays 5 * 12 = 60 dollars",
            "She pays 5 * 11 = 55 dollars\nHe pays 5 * 12 = 60 dollars",
            "He pays 5 * 12 = 60 dollars",
        ),
    ],
)
def test_numbers_are_never_taken_for_others(quote, response, there):
    found = place(quote, response)
    assert response[slice(*found.span)] == there
    assert found.span[0] == response.rindex(there)


def test_another_number_is_no_fuzzy_match():
    assert find("12 + 5 = 18", "2 + 5 = 18") is None


def test_an_ellipsis_stays_in_its_line():
    response = "We add 3 apples.\nWe add 4 pears and get 9."
    assert place("We add ... get 9", response).span == (17, 41)


def test_long_inputs_take_linear_time():
    # each of these was quadratic once: minutes; they take milliseconds
    many = "so the answer is 12, then " * 1000
    assert place("the answer is 12", many).candidates == PLACES
    assert find("not there", "\n" * 20_000) is None
    assert find("no quote" + " " * 20_000, "abc") is None
    assert find("[" * 20_000, "." * 20_000) is None


def test_the_rest_of_the_reflection_decides_where_it_can():
    text = "Tom: 2+2=5 apples\nMia: 2+2=5 pears"
    found = place("2+2=5", text, "The pears are miscounted.")
    assert (found.span, found.candidates) == ((23, 28), 2)
    assert place("2+2=5", text, "It is 4.").span == (5, 10)  # it does not tell: the first


def test_an_ellipsis_takes_the_nearest_start():
    text = "The cost is 5. The cost of two is 9."
    found = place("The cost ... is 9", text)
    assert (found.span, found.match) == ((15, 35), "ellipsis")


def test_folding_by_hand():
    folded = fold("**A** ﬁ <<1>>\u00d72")
    assert folded.text == "afi*2"
    assert folded.original(0, 1) == (2, 3)
    assert folded.original(1, 2) == (6, 7)  # the ligature is one character
    assert folded.original(3, 5) == (13, 15)


def test_edit_costs_by_hand():
    # one wrong letter: 1. A dropped word of 5 letters: 1 + 4 x 0.1.
    assert nearest_substring("abcd", "xxabZdxx") == (2, 6, 1.0)
    start, end, cost = nearest_substring("thisthat", "..thismeansthat")
    assert (start, end, round(cost, 6)) == (2, 15, 1.4)


@given(st.text(min_size=1, max_size=60), st.data())
def test_every_piece_is_found_exactly(text, data):
    start = data.draw(st.integers(0, len(text) - 1))
    end = data.draw(st.integers(start + 1, len(text)))
    found = find(text[start:end], text)
    if not text[start:end].strip():
        assert found is None  # white space alone is no quote
        return
    assert found is not None
    cut = [start, end]
    assert found.match == "exact" or any(
        splits_word(text, at) for at in cut
    )  # else a cleaner place
    if found.match == "exact":
        assert text[slice(*found.span)] == text[start:end]


@given(st.text(max_size=40), st.text(max_size=80), st.text(max_size=20))
def test_a_match_is_always_inside_the_response(quote, response, rest):
    found = find(quote, response, rest)
    if found is not None:
        assert 0 <= found.span[0] < found.span[1] <= len(response)
        assert found.candidates >= 1


@given(st.text(max_size=60))
def test_folded_characters_point_into_the_text_in_order(text):
    folded = fold(text)
    assert len(folded.text) == len(folded.starts) == len(folded.ends)
    assert list(folded.starts) == sorted(folded.starts)
    assert all(0 <= a < b <= len(text) for a, b in zip(folded.starts, folded.ends, strict=True))


HOSTILE = ["ab", "a", "a\n", "0", "1,000", "$", "**a ", "- ", "\u0301", "1+2=3 so ", "a..."]


@pytest.mark.parametrize("pattern", HOSTILE)
def test_a_row_of_quotes_takes_time_that_grows_with_the_text(pattern):
    # 8 x the text may take 8 x log(8 n) / log(n) < 11 times as long; a quadratic search takes 64 x.
    # Below 20 ms the clock says little.
    seconds = {}
    for size in (2500, 20_000):
        text = (pattern * size)[:size]
        quotes = [text[n : n + 40 + n] + " zq" * (n % 2) for n in range(MOST_QUOTES)]
        started = time.process_time()
        row: Any = {"quotes": quotes, "raw": text}
        find_quotes(row, text, 80)
        seconds[size] = time.process_time() - started
    assert seconds[20_000] < 5 * 11 * max(seconds[2500], 0.02)


def test_markup_before_a_quote_takes_no_exponential_time():
    found = find("abc", "*" * 38 + "x abc")
    assert found is not None and found.span == (40, 43)


def test_the_fuzzy_search_of_a_row_ends_and_says_so():
    # a quote of 1000 letters in a text of 6000 costs 1000 + 1000^2 x 6000 / 1.5 M = 5000 of 6000
    text = "The sum of 12 and 30 is 42. " * 300
    wrong = "".join("q" if n % 9 == 0 else c for n, c in enumerate(text[:990]))
    row: Any = {"quotes": [wrong, "z" + wrong], "raw": ""}
    places, cut = find_quotes(row, text[:6000], 80)
    assert [place["match"] for place in places] == ["fuzzy", "none"] and cut == 1
