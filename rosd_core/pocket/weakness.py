"""Where a rule can be forgotten: everywhere, or at some problems alone.

With weak digits a step is *weak* if it needs a rule and the ones digit of its second operand is one
of the rule's weak digits. A rule is forgotten at weak steps with its rate and nowhere else: all
other steps are *mastered*, and what is right before a first error is seldom luck.
"""

from collections.abc import Mapping, Sequence
from typing import Any

WeakDigits = Mapping[Any, Sequence[int]]  # of each rule: the ones digits of its weak operands


def forget_rate(
    rule: str, operand: int, rates: Mapping[Any, float], weak_digits: WeakDigits | None
) -> float:
    """The rate at which `rule` is forgotten in a step that needs it: `rates[rule]` where the ones
    digit of the second operand is weak, else 0. Without weak digits (None) every operand is weak;
    rules without a rate are never forgotten.

    carry {8, 9} at 0.6: 37+28 -> 0.6, 37+25 -> 0.
    """
    if weak_digits is not None and operand % 10 not in weak_digits[rule]:
        return 0.0
    return rates.get(rule, 0.0)
