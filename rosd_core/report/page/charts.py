"""The numbers of the page's charts, from accuracies, curves and the stages' metrics."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from rosd_core.report.quantities import numbers


@dataclass(frozen=True)
class Quantity:
    """A chart: a column of the curves (`step`) or a metric (`iteration`), and what it says."""

    key: str
    name: str
    unit: str
    text: str
    scale: float = 1.0
    interval: tuple[str, str] | None = None


BY_STEP = (
    Quantity("loss", "Loss", "nats", "mean over the supervised tokens"),
    Quantity("stale_kl", "Staleness", "nats", "how far the student has moved from its samples"),
    Quantity("grad_norm", "Gradient", "norm", "before clipping"),
)
BY_ITERATION = (
    Quantity("rollout.success_share", "Success", "%", "share of rollouts that are correct", 100),
    Quantity("rollout.response_tokens", "Length", "tokens", "mean of the sampled responses"),
    Quantity(
        "score.student_entropy",
        "Entropy",
        "nats",
        "of the student's next token, mean over the supervised ones",
    ),
    Quantity(
        "score.tokens.wrong.divergence",
        "Divergence",
        "nats",
        "of student and teacher on wrong rollouts, mean over the supervised tokens",
    ),
    Quantity(
        "score.lift",
        "Lift",
        "nats",
        "by how much more the teacher's context helps correct rollouts than wrong ones",
        interval=("score.lift_low", "score.lift_high"),
    ),
)


def accuracy_points(accuracy: pl.DataFrame, trained: Sequence[str]) -> list[dict[str, Any]]:
    """A point per domain and iteration, in percent: mean, low, high; and whether the domain is
    trained on.
    """
    return [
        {
            "domain": row["domain"],
            "iteration": row["iteration"],
            "trained": row["domain"] in trained,
            **{name: 100 * row[name] for name in ("mean", "low", "high")},
        }
        for row in accuracy.iter_rows(named=True)
    ]


def training_charts(
    curves: Mapping[str, pl.DataFrame], metrics: Mapping[str, Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """The charts by optimizer step, then those by iteration; those without any number are left out.

    `curves` holds the curve of each iteration, in order; `metrics` its metrics as
    {iteration: {stage: metrics}}. Steps are counted through all iterations.
    """
    charts = [_by_step(quantity, curves) for quantity in BY_STEP]
    charts += [_by_iteration(quantity, metrics) for quantity in BY_ITERATION]
    return [chart for chart in charts if chart["rows"]]


def _by_step(quantity: Quantity, curves: Mapping[str, pl.DataFrame]) -> dict[str, Any]:
    rows, starts, before = [], [], 0
    for iteration, curve in curves.items():
        starts.append({"step": before, "iteration": iteration})
        if quantity.key in curve.columns:
            rows += [
                {"step": before + n, "value": value * quantity.scale}
                for n, value in enumerate(curve[quantity.key])
                if value is not None
            ]
        before += curve.height
    return _chart(quantity, "step", rows) | {"starts": starts}


def _by_iteration(quantity: Quantity, metrics: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    rows = []
    for iteration, stages in metrics.items():
        values = dict(pair for stage, m in stages.items() for pair in numbers(m, stage))
        value = values.get(quantity.key)
        if value is None:
            continue
        ends = [values.get(key) for key in quantity.interval or ("", "")]
        low, high = (None if end is None else end * quantity.scale for end in ends)
        rows.append(
            {"iteration": iteration, "value": value * quantity.scale, "low": low, "high": high}
        )
    return _chart(quantity, "iteration", rows)


def _chart(quantity: Quantity, x: str, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {
        "name": quantity.name,
        "unit": quantity.unit,
        "text": quantity.text,
        "x": x,
        "rows": list(rows),
    }
