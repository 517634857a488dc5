"""What a perfect reflector knows: the true first error of any solution, and the idea that fixes
it.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

from rosd_core.pocket.weakness import WeakDigits
from rosd_core.pocket.world import RULES, Program, calculate, misconception, solve, write_solution


@dataclass(frozen=True)
class Wrong:
    """A wrong solution and what a perfect reflector says of it.

    `check` is how it finds the error: line by line the right step beside the result that the wrong
    solution has for it, up to the first that differs.
    """

    text: str
    check: str
    quote: str
    idea: str
    rule: str | None


def line_spans(text: str) -> Iterator[tuple[int, int]]:
    """Character spans of the lines of `text`, without their newlines."""
    start = 0
    for line in text.split("\n"):
        yield start, start + len(line)
        start += len(line) + 1


def first_error(response: str, solution: str) -> tuple[int, int] | None:
    """Character span of the first line of `response` that departs from the only correct `solution`.

    A response that stops early has the empty span at its end; one that goes on too long has its
    first extra line. Returns None for the correct solution itself.
    """
    truth = solution.split("\n")
    spans = list(line_spans(response))
    for number, (start, end) in enumerate(spans):
        if number >= len(truth) or response[start:end] != truth[number]:
            return start, end
    return None if len(spans) == len(truth) else (len(response), len(response))


def corrective_idea(line: str) -> tuple[str, str | None]:
    """What a perfect reflector says of a wrong step line whose operands are right, and the rule
    concerned.
    """
    expression, _, result = line.partition("=")
    op = next(c for c in expression if c in RULES)
    a, b = (int(x) for x in expression.split(op))
    if int(result) != misconception(op, a, b):
        return f"{expression} is {calculate(op, a, b)}.", None
    reasons = {
        "+": "the ones pass ten, so carry.",
        "-": "the ones are too few, so borrow.",
        "*": "the ones hold tens, so regroup.",
    }
    return f"In {expression} {reasons[op]}", RULES[op]


def praise(program: Program) -> tuple[str, frozenset[str]]:
    """What a perfect reflector says of the correct solution, and the rules that it names."""
    value, used = program.start, []
    for op, b in program.steps:
        if misconception(op, value, b) is not None and RULES[op] not in used:
            used.append(RULES[op])
        value = calculate(op, value, b)
    return (f"Right: {', '.join(used)}." if used else "Right: no ten is crossed."), frozenset(used)


def _check(wrong: str, truth: str) -> str:
    """The lines of `truth`, each with the result that `wrong` has there, as far as `wrong` goes."""
    pairs = zip(truth.split("\n"), wrong.split("\n"), strict=False)
    return "".join(f"{right} {other.partition('=')[2]}\n" for right, other in pairs)


def _with_slip(program: Program, rng: Random) -> str:
    """A solution with one random wrong result, from which it continues correctly."""
    at, value, results = rng.randrange(len(program.steps)), program.start, []
    for number, (op, b) in enumerate(program.steps):
        right = calculate(op, value, b)
        value = rng.choice([v for v in range(100) if v != right]) if number == at else right % 100
        results.append(value)
    return write_solution(program, results)


def wrong_solution(
    program: Program,
    rng: Random,
    rates: Mapping[Any, float],
    slip_rate: float,
    weak_digits: WeakDigits | None = None,
) -> Wrong | None:
    """A wrong solution drawn from the misconceptions (with probability `slip_rate`: one random slip
    instead).

    Returns None where no rule can be forgotten and no slip was drawn.
    """
    truth = text = solve(program, rng, {})
    if rng.random() < slip_rate:
        text = _with_slip(program, rng)
    else:
        for _ in range(20):
            text = solve(program, rng, rates, weak_digits=weak_digits)
            if text != truth:
                break
    span = first_error(text, truth)
    if span is None:
        return None
    quote = text[slice(*span)]
    return Wrong(text, _check(text[: span[1]], truth), quote, *corrective_idea(quote))


def known_errors(
    problems: Iterable[Mapping[str, Any]], rollouts: Iterable[Mapping[str, Any]]
) -> dict[str, tuple[int, int]]:
    """Span of the first error of every wrong rollout on a problem of this world, by rollout_id."""
    pocket = [p for p in problems if p["task"] == "pocket"]
    solution = {p["problem_id"]: json.loads(p["grader_data"])["worked"] for p in pocket}
    errors = {}
    for row in rollouts:
        if not row["success"] and row["problem_id"] in solution:
            span = first_error(row["response"], solution[row["problem_id"]])
            if span is not None:
                errors[row["rollout_id"]] = span
    return errors
