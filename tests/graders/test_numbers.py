"""The last number of a text, by hand."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rosd_core.errors import RosdError
from rosd_core.graders.graders import last_number
from rosd_core.graders.numbers import last_number_of


@pytest.mark.parametrize(
    ("text", "bare", "value"),
    [
        ("so it is 5.", "5", 5),  # the full stop is not part of it
        ("3 and then 4", "4", 4),
        ("1,234,567 in all", "1234567", 1234567),
        ("12{,}000", "12000", 12000),
        ("1\u202f000", "1000", 1000),
        ("1, 2,3", "3", 3),  # a list
        ("1,2345", "2345", 2345),  # no thousands
        ("it costs $1,250.50!", "1250.50", Fraction(2501, 2)),
        ("x = -7", "-7", -7),
        ("x = \u22127", "-7", -7),
        ("-$20", "-20", -20),
        ("$-20", "-20", -20),
        ("-\\$20", "-20", -20),
        ("+3", "3", 3),
        ("10-7", "7", 7),  # a difference or a range
        ("(2)-7", "7", 7),
        ("- 7", "7", 7),  # an item of a list
        ("COVID-19", "19", 19),
        ("50%", "50", 50),
        ("50\\%.", "50", 50),
        (".5", ".5", Fraction(1, 2)),
        ("0.10", "0.10", Fraction(1, 10)),
        ("3/4.", "3/4", Fraction(3, 4)),
        ("-3/4", "-3/4", Fraction(-3, 4)),
        ("2 1/2 cups", "2 1/2", Fraction(5, 2)),
        ("-2 1/2", "-2 1/2", Fraction(-5, 2)),
        ("\\frac{3}{4}", "3/4", Fraction(3, 4)),
        ("$-\\dfrac{10}{4}$", "-10/4", Fraction(-5, 2)),
        ("2\\frac{1}{2}", "2 1/2", Fraction(5, 2)),
        ("on 3/4/2020", "2020", 2020),
        ("1e3", "1e3", 1000),
        ("2.5E-1", "2.5E-1", Fraction(1, 4)),
        ("5 km of H2O", "5", 5),  # the 2 follows a letter
        ("12:30", "30", 30),
        ("**42**", "42", 42),
        ("\\boxed{42}", "42", 42),
        ("1/0", "1/0", None),
        ("9" * 81, "9" * 81, None),
    ],
)
def test_the_last_number_by_hand(text, bare, value):
    assert last_number_of(text) == (bare, value)


@pytest.mark.parametrize("text", ["", "none", "H2O", "x_1", ". . .", "-"])
def test_a_text_without_a_number(text):
    assert last_number_of(text) is None


@given(st.decimals(allow_nan=False, allow_infinity=False, places=3, min_value=-1e9, max_value=1e9))
def test_numbers_are_read_as_python_writes_them(number):
    for text in (f"{number:,}", f"{number:f}", f"= {number:,}.", f"about {number:,} kg"):
        found = last_number_of(text)
        assert found is not None
        assert found[1] == Fraction(number)


def verdict(response, gold):
    found = last_number(response, {"answer": gold})
    return found.reward, found.format


def test_verdicts_by_hand():
    assert verdict("It is 1,000.0 dollars.", "1000") == (1.0, "ok")
    assert verdict("half of it, 1/2", "0.5") == (1.0, "ok")
    assert verdict("about 3.33", "10/3") == (0.0, "ok")
    assert verdict("5 or 6", "5") == (0.0, "ok")
    assert verdict("I do not know", "5") == (0.0, "missing")
    assert verdict("7/0", "5") == (0.0, "malformed")
    with pytest.raises(RosdError, match="the gold answer 'five' is no number"):
        verdict("5", "five")


def test_long_texts_are_read_at_once():
    assert last_number_of("1," * 50_000 + "1") == ("1", 1)
    assert last_number_of("9" * 100_000) == ("9" * 100_000, None)
    assert last_number_of("1/" * 50_000) == ("1", 1)
