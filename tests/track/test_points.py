import polars as pl

from rosd_core.track.points import Point, curve_points, digest, flat, iteration_points


def test_curves_become_a_point_per_step():
    curves = {
        "i1": pl.DataFrame({"step": [0, 1], "loss": [0.5, 0.25], "stale_kl": [None, 0.125]}),
        "i2": pl.DataFrame({"step": [2], "loss": [float("nan")], "stale_kl": [0.0]}),
    }
    assert curve_points(curves) == [
        Point("step", 0, {"train/loss": 0.5}),  # what is not known is left out
        Point("step", 1, {"train/loss": 0.25, "train/stale_kl": 0.125}),
        Point("step", 2, {"train/stale_kl": 0.0}),
    ]


def test_metrics_become_a_point_per_iteration_with_groups():
    quantities = {
        "base": {"evaluate.chain.mean": 0.5, "evaluate.chain.low": 0.4},
        "i1": {"evaluate.chain.mean": 0.75, "score.tokens.first.divergence": 0.125},
    }
    assert iteration_points(quantities) == [
        Point(
            "iteration",
            0,
            {"accuracy/chain": 0.5, "evaluate/chain.mean": 0.5, "evaluate/chain.low": 0.4},
        ),
        Point(
            "iteration",
            1,
            {
                "accuracy/chain": 0.75,
                "evaluate/chain.mean": 0.75,
                "score/tokens.first.divergence": 0.125,
            },
        ),
    ]


def test_a_run_is_the_same_while_settings_and_results_are():
    points = [Point("step", 0, {"train/loss": 0.5})]
    same = digest({"distill": {"alpha": 0.5, "seed": 1}}, points)
    assert digest({"distill": {"seed": 1, "alpha": 0.5}}, list(points)) == same
    assert digest({"distill": {"alpha": 0.25, "seed": 1}}, points) != same
    assert digest({"distill": {"alpha": 0.5, "seed": 1}}, [*points, *points]) != same


def test_settings_are_flat_and_plain():
    settings = {"loop": {"i1": {"start": "base"}}, "betas": [0.9, 0.98], "lora": None, "empty": {}}
    assert flat(settings) == {
        "loop.i1.start": "base", "betas": "[0.9, 0.98]", "lora": None, "empty": "{}",
    }  # fmt: skip
