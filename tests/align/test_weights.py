"""Row weights, with numbers by hand."""

import math
from dataclasses import replace
from typing import get_args

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rosd_core.align.eligibility import groups_of
from rosd_core.align.weights import ROW_WEIGHTS, Group, advantages
from rosd_core.config.training import Align

GROUP = Group(has_reference=True, all_success=False, advantage=-0.5, pass_rate=0.25)


def test_params_know_every_weight_and_no_other():
    assert set(get_args(Align.model_fields["weight"].annotation)) == set(ROW_WEIGHTS)


def test_advantages_by_hand():
    # rewards 1, 0, 0, 0: mean 1/4, variance (9 + 1 + 1 + 1) / 16 / 4 = 3/16
    found = advantages({"p": {"a": 1.0, "b": 0.0, "c": 0.0, "d": 0.0}, "q": {"e": 1.0, "f": 1.0}})
    assert found["a"] == pytest.approx(0.75 / (3 / 16) ** 0.5)
    assert found["b"] == pytest.approx(-0.25 / (3 / 16) ** 0.5)
    assert (found["e"], found["f"]) == (None, None)


def test_weights_by_hand():
    assert ROW_WEIGHTS["one"](GROUP) == 1.0
    assert ROW_WEIGHTS["advantage"](GROUP) == -0.5
    # p = 1/4: sqrt(1/4 * 3/4) = sqrt(3) / 4; p = 1/2: 1/2, the most
    assert ROW_WEIGHTS["pass_rate"](GROUP) == pytest.approx(math.sqrt(3) / 4)
    assert ROW_WEIGHTS["pass_rate"](replace(GROUP, pass_rate=0.5)) == 0.5
    for none in (0.0, 1.0):
        assert ROW_WEIGHTS["pass_rate"](replace(GROUP, pass_rate=none)) is None


@given(st.integers(1, 64), st.data())
def test_a_pass_rate_weighs_success_as_much_as_failure(size, data):
    passed = data.draw(st.integers(0, size))
    one, other = (
        ROW_WEIGHTS["pass_rate"](replace(GROUP, pass_rate=count / size))
        for count in (passed, size - passed)
    )
    if passed in (0, size):
        assert one is None and other is None
    else:
        assert one == pytest.approx(other) and 0 < (one or 0) <= 0.5


def test_what_is_known_of_a_group():
    rollouts = pl.DataFrame(
        {
            "rollout_id": ["p/0", "p/1", "p/2", "p/3", "q/0", "q/1"],
            "problem_id": ["p"] * 4 + ["q"] * 2,
            "reward": [1.0, 0.2, 0.2, 0.2, 0.8, 0.6],
            "success": [True, False, False, False, True, True],
        }
    )
    problems = pl.DataFrame({"problem_id": ["p", "q"], "solution": ["s", None]})
    groups = groups_of(problems, rollouts)
    assert [groups[i].pass_rate for i in ("p/0", "p/3", "q/1")] == [0.25, 0.25, 1.0]
    assert [groups[i].all_success for i in ("p/0", "q/0")] == [False, True]
    assert [groups[i].has_reference for i in ("p/0", "q/0")] == [True, False]
    # rewards 0.8 and 0.6: mean 0.7, deviation 0.1; pass_rate skips them nevertheless
    assert groups["q/0"].advantage == pytest.approx(1)
    assert ROW_WEIGHTS["pass_rate"](groups["q/0"]) is None
