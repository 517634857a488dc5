"""The step-aligned critique, by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rosd_core.score.critique import write_critique

RESPONSE = "37+25=62\n62-18=54\n54+1=55\nAnswer: 55"  # the lines start at 0, 9, 18 and 26


@pytest.mark.parametrize(
    ("response", "error", "expected"),
    [
        (RESPONSE, 9, ["Right: 37+25=62", "Wrong: 62-18=54"]),
        (RESPONSE, 15, ["Right: 37+25=62", "Wrong: 62-18=54"]),  # within the line
        (RESPONSE, 0, ["Wrong: 37+25=62"]),
        ("a\n\n  \nb\nc", 6, ["Right: a", "Wrong: b"]),  # empty lines are no steps; b is at 6
        ("1+1=2\nAnswer: 2", None, ["Right: 1+1=2", "Right: Answer: 2"]),
        # thinking (17 characters and 2 newlines) is left out: b is at 21
        ("<think>x\ny</think>\na\nb\nc", 21, ["Right: a", "Wrong: b"]),
        ("<think>x\ny</think>\na", None, ["Right: a"]),
        # the error y (at 9) is in the thinking, which therefore stays
        ("<think>x\ny</think>\na", 9, ["Right: <think>x", "Wrong: y</think>"]),
    ],
)
def test_lines_are_right_up_to_the_error(response, error, expected):
    assert write_critique(response, error, "why").split("\n") == [*expected, "Why: why"]


@given(st.lists(st.from_regex(r"[a-z0-9+=]{1,8}", fullmatch=True), min_size=1), st.data())
def test_the_wrong_line_is_the_last_and_holds_the_error(lines, data):
    response = "\n".join(lines)
    number = data.draw(st.integers(0, len(lines) - 1))
    start = sum(len(line) + 1 for line in lines[:number])
    error = data.draw(st.integers(start, start + len(lines[number]) - 1))
    expected = [f"Right: {line}" for line in lines[:number]] + [f"Wrong: {lines[number]}"]
    assert write_critique(response, error, "i").split("\n") == [*expected, "Why: i"]
