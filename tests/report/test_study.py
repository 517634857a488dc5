"""Results of a study: numbers by hand."""

import json

import polars as pl
import pytest

from rosd_core.config.study import Select
from rosd_core.report.paired import (
    difference_cell,
    markdown,
    mean_cell,
    over_seeds,
    paired_difference,
)
from rosd_core.report.quantities import numbers, opening, opening_shift, study_rows
from rosd_core.report.study import (
    IN,
    OUT,
    Domains,
    accuracies,
    baseline_of,
    chosen_arms,
    collapses,
    last_values,
    points_of,
)

DOMAINS = Domains(trained=["a"], out=["b", "c"], chosen_by="v")
SELECT = Select(axis="rate", domain="v")


def results(arm, seed, point=None, **accuracy):
    """accuracy: `<domain>_<iteration>=share`."""
    rows = []
    for name, value in accuracy.items():
        domain, iteration = name.split("_")
        rows.append((iteration, f"evaluate.{domain}.mean", value, None))
    head = {"arm": arm, "point": json.dumps(point or {}), "seed": seed}
    return pl.DataFrame(
        [
            {**head, "iteration": i, "quantity": q, "value": v, "note": n}
            for i, q, v, n in rows
        ],
        schema_overrides={"note": pl.String},
    )  # fmt: skip


def test_domains_count_alike_and_the_one_to_choose_by_is_in_no_mean():
    frame = results("x", 1, a_base=0.25, b_base=1.0, c_base=0.0, v_base=0.9, a_i2=0.75)
    rows = {(r["number"], r["domain"]): r["value"] for r in accuracies(frame, DOMAINS).to_dicts()}
    assert rows[0, IN] == 25
    assert rows[0, OUT] == 50  # of b and c
    assert rows[2, IN] == rows[2, "a"] == 75
    assert (2, OUT) not in rows


def test_the_value_with_the_best_validation_accuracy_is_chosen_not_the_best_test_accuracy():
    frame = pl.concat(
        [
            results("m, 1", 1, {"method": "m", "rate": 1}, v_i1=0.5, a_i1=0.9),
            results("m, 2", 1, {"method": "m", "rate": 2}, v_i1=0.6, a_i1=0.1),
            results("n, 1", 1, {"method": "n", "rate": 1}, v_i1=0.7, a_i1=0.1),
            # another seed of one arm alone tells nothing of the choice between the two
            results("m, 1", 2, {"method": "m", "rate": 1}, v_i1=1.0, a_i1=1.0),
        ]
    )
    values, points = accuracies(frame, DOMAINS), points_of(frame)
    chosen = chosen_arms(points, last_values(values, frame), SELECT)
    assert chosen == {"m": "m, 2", "n": "n, 1"}
    assert baseline_of("n, 1", points, {"method": "m"}, chosen, "rate") == "m, 2"
    assert baseline_of("m, 2", points, {"method": "m"}, chosen, "rate") is None


def test_a_run_that_failed_has_no_last_accuracy():
    head = {"arm": "x", "point": "{}", "seed": 1}
    rows = study_rows(head, {"base": {"evaluate.a.mean": 0.5}}, ("i1", "diverged"))
    frame = pl.DataFrame(rows)
    assert frame.filter(quantity="failed")["note"].to_list() == ["diverged"]
    values = accuracies(frame, DOMAINS)
    assert len(values) and not len(last_values(values, frame))


def test_a_collapse_is_a_fall_of_more_than_ten_points_from_the_best_before():
    frame = pl.DataFrame(
        {
            "arm": "x",
            "seed": [1, 1, 1, 2, 2, 2],
            "number": [0, 1, 2, 0, 1, 2],
            "value": [40.0, 80.0, 69.0, 40.0, 80.0, 70.0],
        }
    )
    assert collapses(frame).to_dicts() == [{"arm": "x", "seed": 1, "best": 80, "last": 69}]


def test_differences_are_paired_by_seed():
    # over seeds the arms overlap widely, but x is one better on each
    frame = pl.DataFrame(
        {"arm": ["x", "x", "y", "y"], "seed": [1, 2, 2, 1], "value": [11.0, 51.0, 50.0, 10.0]}
    )
    assert paired_difference(frame, "x", "y", over_seeds(0.95, 200)) == (1, 1, 1)
    assert paired_difference(frame, "x", "z", over_seeds(0.95, 200)) is None


def test_cells():
    interval = over_seeds(0.95, 200)
    assert mean_cell([2.0], interval, bold=True) == "**2.0**"
    assert mean_cell([1.0, 1.0], interval) == "1.0 [1.0, 1.0]"
    assert mean_cell([], interval) == difference_cell(None) == ""
    assert difference_cell((1, -0.5, 2)) == "+1.0 [-0.5, +2.0]"
    assert markdown(["a", "b"], [["1", "2"]]) == "| a | b |\n| --- | --- |\n| 1 | 2 |\n"


@pytest.mark.parametrize(
    ("response", "first"),
    [("37+25=62\n", "0"), (" First 37", "First"), ("", ""), ("=7", "="), ("Answer: 4", "Answer")],
)
def test_openings(response, first):
    assert opening(response) == first


def test_the_shift_of_openings_by_hand():
    # shares 3/4, 1/4 before and 1/4, 1/4, 1/2 after: (1/2 + 0 + 1/2) / 2
    before = ["12+1", "9", "44", "First 1"]
    after = ["7", "First", "Then 1", "Then 2"]
    assert opening_shift(before, after) == 0.5
    assert opening_shift(before, before) == 0


def test_numbers_of_nested_metrics():
    data = {"a": 1, "b": {"c": 0.5, "d": "text", "e": None}}
    assert dict(numbers(data, "stage")) == {"stage.a": 1.0, "stage.b.c": 0.5}
