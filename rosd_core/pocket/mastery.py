"""Which right steps of a solution are mastered, and which are luck."""

from collections.abc import Mapping, Sequence
from typing import Any

from rosd_core.pocket.oracle import first_error
from rosd_core.pocket.weakness import WeakDigits, forget_rate
from rosd_core.pocket.world import RULES, Program, calculate, misconception


def step_rates(
    program: Program, rates: Mapping[Any, float], weak_digits: WeakDigits | None
) -> list[float | None]:
    """Of each step of the correct solution: the rate at which its rule is forgotten, None where the
    step needs no rule. Rate 0 is a mastered step.
    """
    value, found = program.start, []
    for op, b in program.steps:
        needed = misconception(op, value, b) is not None
        found.append(forget_rate(RULES[op], b, rates, weak_digits) if needed else None)
        value = calculate(op, value, b)
    return found


def right_before_error(
    response: str, solution: str, steps: Sequence[float | None]
) -> list[float] | None:
    """Rates of the right steps that need a rule, up to the first error of `response`; None for the
    correct solution itself. `steps` are those of `step_rates`.
    """
    span = first_error(response, solution)
    if span is None:
        return None
    return [rate for rate in steps[: response[: span[0]].count("\n")] if rate is not None]
