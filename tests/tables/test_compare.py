"""Rows that were made again: what may differ, and by how much."""

from typing import Any

from rosd_core.tables.compare import differences
from rosd_core.tables.schemas import SCHEMAS


def row(**changes: Any) -> dict[str, Any]:
    """A row of scores with two tokens; only the columns that matter here hold values."""
    empty = dict.fromkeys(SCHEMAS["scores"].names)
    return (
        empty
        | {"rollout_id": "a", "teacher_logp": [-1.0, -2.0], "tail_logp": [-9.0, -16.0]}
        | changes
    )


def test_log_probabilities_differ_by_the_tolerance():
    again = row(teacher_logp=[-1.0009, -2.0])
    assert differences("scores", [row()], [again], 1e-3) == []
    again = row(teacher_logp=[-1.0, -2.002])
    assert differences("scores", [row()], [again], 1e-3) == [
        "row a: teacher_logp differs by up to 0.002"
    ]


def test_a_tail_is_compared_as_a_probability():
    """exp(-16) = 1e-7, twice that is rounding of a sum near 1; exp(-9) = 0.0001234 and exp(-2.3) =
    0.1 are not the same.
    """
    assert differences("scores", [row()], [row(tail_logp=[-9.0, -15.3])], 1e-3) == []
    found = differences("scores", [row()], [row(tail_logp=[-2.302585, -16.0])], 1e-3)
    assert found == ["row a: tail_logp differs by up to 0.0999"]


def test_everything_else_has_to_be_equal():
    assert differences("scores", [row()], [row(kind="wrong")], 1) == ["row a: kind is another one"]
    assert differences("scores", [row()], [], 1) == ["row a: is not made again"]
    found = differences("scores", [row()], [row(teacher_logp=[-1.0])], 1)
    assert found == ["row a: teacher_logp has 2 values, made again 1"]
