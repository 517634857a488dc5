"""The weight of a row in the loss, from its group: one function per name, in the table
`ROW_WEIGHTS`.

| align.weight | weight r of a row | skipped |
| --- | --- | --- |
| one | 1 | – |
| advantage | (reward - mean of its group) / standard deviation of its group | equal rewards |
| pass_rate | sqrt(p (1 - p)), p: success share of its group | p = 0 and p = 1 |

Losses multiply by r and are not divided by its sum.
"""

import math
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Group:
    """What align needs to know of a rollout's problem and group."""

    has_reference: bool
    all_success: bool
    advantage: float | None  # of this rollout; None where all rewards of the group are equal
    pass_rate: float  # share of the group's rollouts that succeed


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


def one(group: Group) -> float | None:
    """1."""
    return 1.0


def advantage(group: Group) -> float | None:
    """The rollout's group-normalised advantage; None without contrast."""
    return group.advantage


def pass_rate(group: Group) -> float | None:
    """sqrt(p (1 - p)), at most 1/2: the standard deviation of success in the group, so that
    problems of medium difficulty weigh most; None where it is 0.

    It is the factor by which GRPO's normalised advantage scales a problem's gradient, and which
    self-distillation lacks. Source: arXiv 2605.27765 (SC-SDPO).
    """
    return math.sqrt(group.pass_rate * (1 - group.pass_rate)) or None


# group facts -> weight; None: the row is skipped, with the reason no_contrast
ROW_WEIGHTS: dict[str, Callable[[Group], float | None]] = {
    "one": one,
    "advantage": advantage,
    "pass_rate": pass_rate,
}
