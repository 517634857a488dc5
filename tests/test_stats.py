import polars as pl
import pytest

from rosd_core.report import summary
from rosd_core.stats import mean_at_k


def samples(accuracies: list[list[bool]], iteration="base", domain="d") -> pl.DataFrame:
    return pl.DataFrame(
        [
            {"iteration": iteration, "domain": domain, "problem_id": f"p{n}", "success": s}
            for n, group in enumerate(accuracies)
            for s in group
        ]
    )


def test_mean_at_k_by_hand():
    # problems at 1/2 and 1: mean 3/4; bootstrap means lie in {1/2, 3/4, 1} with weights 1:2:1
    (row,) = mean_at_k(samples([[True, False], [True, True]]), 0.95, 4000, 0).to_dicts()
    assert (row["mean"], row["low"], row["high"]) == (0.75, 0.5, 1.0)
    assert (row["problems"], row["samples"]) == (2, 4)


def test_equal_problems_have_no_width():
    (row,) = mean_at_k(samples([[True, False]] * 9), 0.95, 200, 0).to_dicts()
    assert row["low"] == row["high"] == 0.5


def test_summary_by_hand():
    table = pl.DataFrame(
        {
            "iteration": ["base"] * 3 + ["i1"] * 3,
            "domain": ["a", "b", "c"] * 2,
            "mean": [0.2, 0.5, 0.9, 0.7, 0.6, 0.8],
        }
    )
    # a: +50; b: +10 and c: -10, so 0 out of domain
    gains = summary(table, "a")
    assert gains["in_domain_gain"] == pytest.approx(50)
    assert gains["out_of_domain_gain"] == pytest.approx(0)
