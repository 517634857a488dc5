import math

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rosd_core.rollout.signs import compared, repetition, sample_signs

NOW = {
    "response_tokens": 60.0,
    "surprise": 0.1,
    "repetition": 0.2,
    "cut_off_share": 0.5,
    "success_share": 0.2,
    "problems": 100,
}


def repetition_of(*ids):
    table = pl.DataFrame({"ids": list(ids)}, schema={"ids": pl.List(pl.Int32)})
    return table.select(x=repetition(pl.col("ids")))["x"].to_list()


def test_repetition_by_hand():
    # 1234 2341 3412 4123 1234 2341: 4 of 6 are distinct; of 9 equal ids there are 6 equal grams
    found = repetition_of([1, 2, 3, 4, 1, 2, 3, 4, 1], [7] * 9, [1, 2, 3], [], [5, 6, 7, 8, 9])
    assert found == pytest.approx([2 / 6, 5 / 6, 0, 0, 0])


@given(st.lists(st.integers(0, 200_000), max_size=60), st.integers(1, 3))
def test_repetition_counts_grams(ids, times):
    ids = ids * times
    grams = [tuple(ids[n : n + 4]) for n in range(len(ids) - 3)]
    expected = 1 - len(set(grams)) / len(grams) if grams else 0
    assert repetition_of(ids) == pytest.approx([expected])


def test_means_of_a_table_by_hand(tmp_path):
    """Lengths 2 and 5; -log p sums to 0.5 + 2.5 over 7 tokens; 5 equal ids: 2 grams, 1 distinct."""
    pl.DataFrame(
        {"response_ids": [[1, 2], [3] * 5], "student_logp": [[-0.25] * 2, [-0.5] * 5]},
        schema_overrides={"student_logp": pl.List(pl.Float32)},
    ).write_parquet(tmp_path / "rollouts.parquet")
    expected = {"response_tokens": 3.5, "surprise": 3 / 7, "repetition": 0.25}
    assert sample_signs(tmp_path / "rollouts.parquet") == pytest.approx(expected)


def test_comparison_by_hand():
    first = NOW | {"response_tokens": 30.0, "surprise": 0.3, "cut_off_share": 0.1}
    better = first | {"success_share": 0.9, "surprise": 0.2}
    expected = {
        "surprise": 0.1,
        "repetition": 0.2,
        "length_ratio": 2.0,
        "surprise_drop": 3.0,
        "cut_off_rise": 0.4,
        # two standard errors: 2 sqrt(1 / 400 + 1 / 400)
        "success_drop": 0.9 - 0.2 - 2 * math.sqrt(0.005),
    }
    assert compared(NOW, [first, better]) == pytest.approx(expected)
    shorter = compared(NOW | {"response_tokens": 10.0}, [first])
    assert shorter["length_ratio"] == pytest.approx(3.0)


def test_the_first_iteration_is_compared_with_nothing():
    assert compared(NOW, []) == {"surprise": 0.1, "repetition": 0.2}
