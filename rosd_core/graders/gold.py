"""Gold answers that their grader can read: checked when problems are collected, not in rollout."""

import json
import re
from collections.abc import Callable

from rosd_core.graders.graders import last_boxed, read_input
from rosd_core.graders.numbers import last_number_of


def _one_line(answer: str) -> str | None:
    return "has several lines, and the grader reads one" if "\n" in answer.strip() else None


def _letter(answer: str) -> str | None:
    return None if re.fullmatch("[A-Z]", answer.strip()) else "is no capital letter"


def _boxable(answer: str) -> str | None:
    boxed = last_boxed(answer)
    gold = boxed or answer.strip()
    if boxed is None and "\n" in gold and "\\" not in gold:  # a matrix of LaTeX may have lines
        return "has several lines and no box: it looks like a worked solution"
    readable = last_boxed(f"\\boxed{{{gold}}}") == gold
    return None if readable else "does not fit into a box: its braces do not match"


def _number(answer: str) -> str | None:
    found = last_number_of(answer)
    return None if found and found[1] is not None else "is no number"


def _calls(answer: str) -> str | None:
    wanted = 'is no JSON list of {"Action": name, "Action_Input": JSON as text}'
    try:
        calls = json.loads(answer)
        texts = [(call["Action"], call["Action_Input"]) for call in calls]
    except (ValueError, TypeError, KeyError, RecursionError):
        return wanted
    if not texts or not all(isinstance(text, str) for pair in texts for text in pair):
        return wanted
    bad = next((name for name, value in texts if read_input(value) is None), None)
    return None if bad is None else f"has an Action_Input of {bad} that is no JSON"


def _generated(answer: str) -> str | None:
    return "has no generator: reasoning_gym is the grader of task reasoning_gym alone"


# grader -> what is wrong with a gold answer; exact reads any
FAULTS: dict[str, Callable[[str], str | None]] = {
    "answer_line": _one_line,
    "exact": lambda answer: None,
    "mcq": _letter,
    "tool_use": _calls,
    "math": _boxable,
    "last_number": _number,
    "reasoning_gym": _generated,
}


def gold_fault(grader: str, answer: str) -> str | None:
    """What is wrong with a gold answer of a file, None where its grader can read it."""
    return FAULTS[grader](answer) if answer.strip() else "is empty"
