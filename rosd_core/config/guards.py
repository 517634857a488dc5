"""`params.yaml: guards`: bounds on signs of a collapse."""

from typing import Annotated, Literal

from pydantic import Field

from rosd_core.config.section import MOST, Rate, Section, Share

Ratio = Annotated[float, Field(ge=1, le=MOST)]


class RolloutGuards(Section):
    """Of the samples of an iteration; the names are those of `rollout/signs.py`."""

    surprise: Rate | None
    surprise_drop: Ratio | None
    repetition: Share | None
    cut_off_rise: Share | None
    length_ratio: Ratio | None
    success_drop: Share | None


class ScoreGuards(Section):
    """Of the student's and the teacher's distributions; the names are those of `score/signs.py`."""

    tail_mass: Share | None
    student_entropy: Rate | None
    base_kl: Rate | None


class DistillGuards(Section):
    """Of an optimizer step; the names are those of `distill/step_log.py: StepLog`."""

    stale_kl: Rate | None
    largest_ratio: Ratio | None
    clipped_share: Share | None
    grad_norm: Rate | None


class Guards(Section):
    action: Literal["stop", "warn", "off"]
    rollout: RolloutGuards
    score: ScoreGuards
    distill: DistillGuards
