"""Whether the teacher is better than the student, before anything is trained on it.

The gain of a rollout is the mean over its supervised tokens of log T(y_t) - log S(y_t): how much
likelier the teacher finds the response. Over the student's own samples the gain is negative on
average, for correct responses too: it estimates -KL(S || T). What tells a good teacher from a bad
one is the difference

    lift = mean gain of correct rollouts - mean gain of wrong rollouts        (nats per token)

A teacher with a positive lift prefers what the grader calls correct. Training toward one with a
negative lift teaches the student its errors.

Dimension names: P problem.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import polars as pl

from rosd_core.errors import RosdError
from rosd_core.resampling import percentile_interval, resampled_means
from rosd_core.tables.parquet import frames
from rosd_core.tables.row_types import ScoreRow

RESAMPLES = 2000

Lift = dict[str, float | int | None]


def read_gains(scores: Path) -> pl.DataFrame:
    """problem_id, kind (correct | wrong) and gain of every scored row; only these are in memory."""
    gain = pl.col("teacher_logp").list.sum() - pl.col("student_logp").list.sum()
    tokens = pl.col("teacher_logp").list.len()
    columns = ["problem_id", "kind", "teacher_logp", "student_logp"]
    kept = ("problem_id", "kind", (gain / tokens).alias("gain"))
    return pl.concat(part.filter(tokens > 0).select(*kept) for part in frames(scores, columns))


def lift_policy(contexts: Iterable[str | None], policy: str) -> str:
    """`off` where the teacher reads the student's own prompt (`plain`) in all rows, else `policy`:
    such a teacher is an anchor that the student starts from, with a lift of 0 up to rounding.
    """
    return "off" if {name for name in contexts if name is not None} == {"plain"} else policy


def drop_negative(rows: Sequence[ScoreRow]) -> None:
    """Set the status `negative_lift` on scored rows of wrong rollouts whose gain is positive: their
    own idea makes the error likelier. They keep their numbers, and distill leaves them out.
    """
    for row in rows:
        if row["status"] == "scored" and row["kind"] == "wrong":
            gain = np.mean(np.asarray(row["teacher_logp"]) - np.asarray(row["student_logp"]))
            if gain > 0:
                row["status"] = "negative_lift"


def lift_metrics(gains: pl.DataFrame, confidence: float) -> Lift:
    """Rows and mean gain of each kind, the lift, and its bootstrap interval over problems. Null
    where a kind has no scored row.
    """
    metrics: Lift = {}
    for kind in ("correct", "wrong"):
        values = gains.filter(kind=kind)["gain"].to_list()
        metrics[f"{kind}_rows"] = len(values)
        metrics[f"{kind}_gain"] = sum(values) / len(values) if values else None
    correct, wrong = metrics["correct_gain"], metrics["wrong_gain"]
    metrics |= dict.fromkeys(("lift", "lift_low", "lift_high"))
    if correct is not None and wrong is not None:
        metrics["lift"] = correct - wrong
        metrics["lift_low"], metrics["lift_high"] = _interval(gains, confidence)
    return metrics


def _interval(gains: pl.DataFrame, confidence: float) -> tuple[float, float]:
    """The interval of the lift; resamples that lack one of the kinds are left out."""
    sums = [
        column
        for kind in ("correct", "wrong")
        for column in (
            pl.col("gain").filter(pl.col("kind") == kind).sum().alias(f"{kind}_sum"),
            (pl.col("kind") == kind).sum().alias(f"{kind}_rows"),
        )
    ]
    problems = gains.group_by("problem_id", maintain_order=True).agg(*sums).drop("problem_id")
    sums_RC = resampled_means(problems.to_numpy().astype(float), RESAMPLES, seed=0)
    usable_RC = sums_RC[(sums_RC[:, 1] > 0) & (sums_RC[:, 3] > 0)]
    correct_R, wrong_R = usable_RC[:, 0] / usable_RC[:, 1], usable_RC[:, 2] / usable_RC[:, 3]
    return percentile_interval(np.asarray(correct_R - wrong_R), confidence)


def check_lift(metrics: Mapping[str, float | int | None], policy: str) -> str | None:
    """A message where the lift is negative, or the whole interval of the teacher's accuracy minus
    the student's is below 0: raised as RosdError with policy `stop`, returned with `warn`. None
    where there is nothing to say, or with `off`.

    A negative estimate is enough: a good teacher's lift is well above 0, and a model that was
    trained toward a bad one is lost.
    """
    signs = [text for text in (_low_lift(metrics), _low_accuracy(metrics)) if text]
    if policy == "off" or not signs:
        return None
    message = (
        f"the teacher seems worse than the student: {'; '.join(signs)}. Distilling toward it would "
        "do harm. Read some ideas in reflections.parquet. Try clearer prompts (reflect_wrong, "
        "with_idea, with_solution), another align.teacher_context, or a method without teacher "
        "(`rosd method sft`). `score.lift: warn` continues nevertheless."
    )
    if policy == "stop":
        raise RosdError(message)
    return message


def _low_lift(metrics: Mapping[str, float | int | None]) -> str | None:
    lift = metrics["lift"]
    if lift is None or lift >= 0:
        return None
    return (
        f"its lift is {lift:.3f} nats per token [{metrics['lift_low']:.3f}, "
        f"{metrics['lift_high']:.3f}] (gain of correct responses {metrics['correct_gain']:.3f}, "
        f"of wrong ones {metrics['wrong_gain']:.3f})"
    )


def _low_accuracy(metrics: Mapping[str, float | int | None]) -> str | None:
    high = metrics.get("accuracy_difference_high")
    if high is None or high >= 0:
        return None
    return (
        f"{metrics['teacher_accuracy']:.0%} of its {metrics['teacher_samples']} answers are right, "
        f"of the student's on the same problems {metrics['student_accuracy']:.0%}"
    )
