"""Which rollouts are distilled, and what their teacher reads: decided here, once.

Every rollout that is left out gets a skip reason; the table's dictionary lists them.
"""

import statistics
from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from rosd_core.tables.row_types import ReflectionRow


@dataclass(frozen=True)
class AlignSettings:
    """`params.yaml: align`; the names are the same there."""

    teacher_context: str
    mask: str
    wrong: str
    correct: str
    all_success: str
    weight: str
    quote_not_found: str
    spans: str
    skip_thinking: bool
    skip_first: int
    fuzzy_threshold: float

    @property
    def fallback(self) -> str:
        """What happens to a wrong response whose first quote is not known."""
        return "divergence" if self.mask == "quote_or_divergence" else self.quote_not_found


@dataclass(frozen=True)
class Group:
    """What eligibility needs to know of a rollout's problem and group."""

    has_reference: bool
    all_success: bool
    advantage: float | None  # of this rollout; None where all rewards of the group are equal


def advantages(rewards: Mapping[str, Mapping[str, float]]) -> dict[str, float | None]:
    """Group-normalised advantage of each rollout, from problem_id -> rollout_id -> reward.

    A = (r - mean of the group) / standard deviation of the group; None where all rewards of a group
    are equal: there is no contrast to learn from. Source: arXiv 2402.03300 (GRPO), section 4.1.2.
    """
    found: dict[str, float | None] = {}
    for group in rewards.values():
        values = list(group.values())
        mean, spread = statistics.fmean(values), statistics.pstdev(values)
        for rollout_id, reward in group.items():
            found[rollout_id] = (reward - mean) / spread if spread > 0 else None
    return found


def groups_of(problems: pl.DataFrame, rollouts: pl.DataFrame) -> dict[str, Group]:
    """The group facts of every rollout, by rollout_id."""
    has_reference = {
        problem_id: solution is not None
        for problem_id, solution in problems.select("problem_id", "solution").iter_rows()
    }
    missed = set(rollouts.filter(~pl.col("success"))["problem_id"])
    rewards: dict[str, dict[str, float]] = {}
    columns = rollouts.select("problem_id", "rollout_id", "reward")
    for problem_id, rollout_id, reward in columns.iter_rows():
        rewards.setdefault(problem_id, {})[rollout_id] = reward
    gains = advantages(rewards)
    return {
        rollout_id: Group(
            has_reference.get(problem_id, False), problem_id not in missed, gains[rollout_id]
        )
        for problem_id, group in rewards.items()
        for rollout_id in group
    }


def row_weight(settings: AlignSettings, group: Group) -> float | None:
    """The row's weight in the loss: 1, or its advantage."""
    return 1.0 if settings.weight == "one" else group.advantage


def choose_teacher_context(
    reflection: ReflectionRow, has_reference: bool, settings: AlignSettings
) -> tuple[str | None, str | None]:
    """What the teacher reads beside the problem (idea | peer | reference), or the reason why there
    is nothing to read.

    `reference` falls back to a peer where the data have no solution, as in OPSD. `none`: the loss
    has no teacher.
    """
    wanted = settings.teacher_context
    if wanted == "none" or (wanted == "reference" and has_reference):
        return wanted, None
    if wanted in ("peer", "reference"):
        if reflection["peer_id"] is not None:
            return "peer", None
        return None, "no_success" if reflection["kind"] == "wrong" else "lone_success"
    idea_is_enough = settings.mask != "quote" and reflection["idea"] is not None
    if reflection["status"] == "ok" or idea_is_enough:
        return "idea", None
    return None, reflection["skip_reason"] or reflection["status"]


def _excluded(reflection: ReflectionRow, group: Group, settings: AlignSettings) -> str | None:
    """The reason why the params leave this rollout out, if they do."""
    if row_weight(settings, group) is None:
        return "no_contrast"
    if reflection["kind"] == "wrong":
        return "wrong" if settings.wrong == "skip" else None
    if settings.correct == "skip":
        return "correct"
    return "all_success" if settings.all_success == "skip" and group.all_success else None


def eligibility(
    reflection: ReflectionRow, group: Group, settings: AlignSettings
) -> tuple[str | None, str | None]:
    """(teacher context, None) of a rollout that may be distilled, else (None, skip reason)."""
    context, unreadable = choose_teacher_context(reflection, group.has_reference, settings)
    reason = _excluded(reflection, group, settings) or unreadable
    return (context, None) if reason is None else (None, reason)
