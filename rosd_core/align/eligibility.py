"""Which rollouts are distilled, and what their teacher reads: decided here, once.

Every rollout that is left out gets a skip reason; the table's dictionary lists them.
"""

from dataclasses import dataclass

import polars as pl

from rosd_core.align.contexts import CONTEXTS
from rosd_core.align.weights import ROW_WEIGHTS, Group, advantages
from rosd_core.tables.row_types import ReflectionRow


@dataclass(frozen=True)
class AlignSettings:
    """`params.yaml: align`; the names are the same there."""

    teacher_context: str
    no_peer: str
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

    @property
    def reads_peer(self) -> bool:
        """Whether a row depends on its peer's response."""
        return self.fallback == "from_first_difference"


def groups_of(problems: pl.DataFrame, rollouts: pl.DataFrame) -> dict[str, Group]:
    """The group facts of every rollout, by rollout_id."""
    has_reference = {
        problem_id: solution is not None
        for problem_id, solution in problems.select("problem_id", "solution").iter_rows()
    }
    passed = rollouts.group_by("problem_id").agg(pl.col("success").mean())
    pass_rate = dict(passed.iter_rows())
    rewards: dict[str, dict[str, float]] = {}
    columns = rollouts.select("problem_id", "rollout_id", "reward")
    for problem_id, rollout_id, reward in columns.iter_rows():
        rewards.setdefault(problem_id, {})[rollout_id] = reward
    gains = advantages(rewards)
    return {
        rollout_id: Group(
            has_reference=has_reference.get(problem_id, False),
            all_success=pass_rate[problem_id] == 1,
            advantage=gains[rollout_id],
            pass_rate=pass_rate[problem_id],
        )
        for problem_id, group in rewards.items()
        for rollout_id in group
    }


def _excluded(reflection: ReflectionRow, group: Group, settings: AlignSettings) -> str | None:
    """The reason why the params leave this rollout out, if they do."""
    if ROW_WEIGHTS[settings.weight](group) is None:
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
    choose = CONTEXTS[settings.teacher_context]
    context, unreadable = choose(reflection, group.has_reference, settings)
    reason = _excluded(reflection, group, settings) or unreadable
    return (context, None) if reason is None else (None, reason)
