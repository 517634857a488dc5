import polars as pl

from rosd_core.evaluate.stats import (
    majority,
    mean_at_k,
    pass_at,
    sample_metrics,
)
from rosd_core.report.accuracy import summary


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
    assert summary(table, ["a"]) == {
        "accuracy": {"a": 70.0, "b": 60.0, "c": 80.0},
        "in_domain_gain": 50.0,
        "out_of_domain_gain": 0.0,
    }


def test_pass_at_k_by_hand():
    # 4 samples, 1 right: one of 2 is right in C(4,2) - C(3,2) = 3 of 6 draws
    assert pass_at(4, 1, 2) == 0.5
    assert pass_at(4, 1, 1) == 0.25
    assert pass_at(4, 0, 4) == 0.0
    assert pass_at(4, 3, 2) == 1.0  # the 1 wrong sample cannot fill 2 places


def test_majority_by_hand():
    assert majority(["5", "6", "5", None], [1, 0, 1, 0]) == 1.0
    assert majority(["5", "6", None, None], [1, 0, 0, 0]) == 0.5  # a tie shares the vote
    assert majority([None, None], [0, 0]) == 0.0


def test_sample_metrics_by_hand():
    samples = pl.DataFrame(
        {
            "domain": ["d"] * 4,
            "problem_id": ["p", "p", "q", "q"],
            "parsed_answer": ["1", "2", None, "3"],
            "success": [True, False, False, True],
            "response_tokens": [2, 4, 6, 8],
            "finish_reason": ["stop", "stop", "length", "stop"],
            "shortened": [None, None, '{"problem": 9}', '{"problem": 9}'],
        }
    )
    # p: a tie of a right and a wrong answer; q: one vote, right
    assert sample_metrics(samples) == {
        "d": {
            "pass@1": 0.5,
            "pass@2": 1.0,
            "maj@2": 0.75,
            "response_tokens": 5.0,
            "cut_off_share": 0.25,
            "unreadable_share": 0.25,
            "shortened": 1,
        }
    }
