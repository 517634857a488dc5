"""Graders: a response and a problem in, a verdict out. A model's text is never evaluated as code.

To add a grader: write its function, add it to `GRADERS`, and test it. `feedback` never holds the
gold answer: a teacher may read it (`align.teacher_context: feedback`).

| grader | right when |
| --- | --- |
| answer_line | the text after the last `Answer:`, to the end of its line, is the gold answer |
| exact | the whole response, stripped, is the gold answer |
| mcq | the text of the last `<answer>` is the gold letter (SciKnowEval) |
| tool_use | the calls are the gold calls, each with its own input, in any order |
| math | the last `\\boxed{}` or `####` is the gold answer: as text, as a number, symbolically;
| | two different boxes in one line are no answer |
| last_number | the last number of the response is the gold number |
| reasoning_gym | the generator's own score of the last `<answer>` |
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from rosd_core.errors import RosdError
from rosd_core.graders.math_worker import equal_within
from rosd_core.graders.numbers import last_number_of, plain_number
from rosd_core.graders.procedural import gym_dataset, gym_score

Problem = Mapping[str, Any]
MATH_SECONDS = 5.0  # time limit of a symbolic comparison


@dataclass(frozen=True)
class Verdict:
    """`reward` in [0, 1]; `parsed` is None where no answer was found; `feedback` is fit for a
    teacher's prompt. `format`: ok | missing (no answer found) | malformed (an answer in a form that
    the task does not allow) | timeout (the comparison did not end) | error (the generator's scorer
    failed on the answer).
    """

    reward: float
    parsed: str | None
    feedback: str
    format: str = "ok"

    @property
    def success(self) -> bool:
        return self.reward >= 0.5


def _judge(right: bool, parsed: str) -> Verdict:
    if right:
        return Verdict(1.0, parsed, "The answer is right.")
    return Verdict(0.0, parsed, f"The answer {parsed!r} is wrong.")


def _missing(what: str) -> Verdict:
    return Verdict(0.0, None, f"There is no {what}.", "missing")


def answer_line(response: str, problem: Problem) -> Verdict:
    """The text after the last `Answer:` up to the end of its line equals the gold answer."""
    _, mark, rest = response.rpartition("Answer:")
    if not mark:
        return _missing("line 'Answer: ...'")
    parsed = rest.split("\n", 1)[0].strip()
    return _judge(parsed == problem["answer"].strip(), parsed)


def exact(response: str, problem: Problem) -> Verdict:
    """The response equals the gold answer, but for white space around it."""
    parsed = response.strip()
    return _judge(parsed == problem["answer"].strip(), parsed) if parsed else _missing("answer")


def last_tagged(response: str) -> str | None:
    """The text of the last `<answer>`, up to `</answer>` or the end."""
    _, mark, rest = response.rpartition("<answer>")
    return rest.partition("</answer>")[0].strip() if mark else None


def mcq(response: str, problem: Problem) -> Verdict:
    """The last `<answer>` holds the gold letter and nothing else."""
    parsed = last_tagged(response)
    if parsed is None:
        return _missing("<answer>")
    if not re.fullmatch("[A-Z]", parsed):
        return Verdict(0.0, parsed, "The answer must be one letter and nothing else.", "malformed")
    return _judge(parsed == problem["answer"].strip(), parsed)


_CALL = re.compile(r"^[ \t]*Action:[ \t]*(?P<name>[^\n]*)$", re.MULTILINE)
_INPUT = re.compile(r"^[ \t]*Action[ _]Input:\s*", re.MULTILINE)
_OPTIONAL = re.compile(r"^\[optional\]\s*", re.IGNORECASE)


def _plain(value: Any) -> Any:
    """JSON without the `[Optional]` that tool descriptions put before argument names."""
    if isinstance(value, dict):
        return {_OPTIONAL.sub("", key).strip(): _plain(entry) for key, entry in value.items()}
    return [_plain(entry) for entry in value] if isinstance(value, list) else value


def _canonical(value: Any) -> str:
    return json.dumps(_plain(value), sort_keys=True)


def read_input(text: str) -> str | None:
    """The canonical form of the JSON value that `text` starts with, however deep; None if there is
    none.
    """
    text = re.sub(r"^```(?:json)?\s*", "", text.lstrip())
    try:
        return _canonical(json.JSONDecoder(strict=False).raw_decode(text)[0])
    except (ValueError, RecursionError):
        return None


def tool_calls(response: str) -> list[tuple[str, str | None]]:
    """Each `Action:` with the canonical JSON of its own `Action Input:` (None where that is missing
    or no JSON).
    """
    actions = list(_CALL.finditer(response))
    calls = []
    for number, action in enumerate(actions):
        end = actions[number + 1].start() if number + 1 < len(actions) else len(response)
        given = _INPUT.search(response, action.end(), end)
        value = read_input(response[given.end() : end]) if given else None
        calls.append((action["name"].strip().strip("`*"), value))
    return calls


def tool_use(response: str, problem: Problem) -> Verdict:
    """The multiset of (action, input) is that of the gold calls; an input stays with its action."""
    gold = [
        (call["Action"].strip(), read_input(call["Action_Input"]))
        for call in json.loads(problem["answer"])
    ]
    calls = tool_calls(response)
    if not calls:
        return _missing("'Action:'")
    parsed = json.dumps([{"Action": name, "Action_Input": value} for name, value in calls])
    if any(value is None for _, value in calls):
        bad = next(name for name, value in calls if value is None)
        return Verdict(0.0, parsed, f"The input of {bad} is missing or no JSON.", "malformed")
    if Counter(calls) == Counter(gold):
        return Verdict(1.0, parsed, "The calls are right.")
    named = Counter(name for name, _ in calls) == Counter(name for name, _ in gold)
    feedback = "The actions are right, an input is wrong." if named else "The actions are wrong."
    return Verdict(0.0, parsed, feedback)


def last_boxed(response: str) -> str | None:
    """The content of the last `\\boxed{}` with balanced braces, else the rest of the line after the
    last `####`.
    """
    at = max(response.rfind("\\boxed{"), response.rfind("\\fbox{"))
    if at >= 0:
        start, depth = response.index("{", at) + 1, 1
        for end in range(start, len(response)):
            depth += {"{": 1, "}": -1}.get(response[end], 0)
            if depth == 0:
                return response[start:end].strip()
    _, mark, rest = response.rpartition("####")
    return rest.split("\n", 1)[0].strip() if mark else None


def two_answers(response: str, parsed: str) -> bool:
    """Whether the answer is no single one: another box with another content in its line, or an
    equation of two different numbers. Answers in earlier lines are steps, or were given up.
    """
    at = max(response.rfind("\\boxed{"), response.rfind("\\fbox{"))
    earlier = last_boxed(response[response.rfind("\n", 0, at) + 1 : at]) if at >= 0 else None
    values = [plain_number(side) for side in parsed.split("=", 8)]
    unequal = len(values) > 1 and None not in values and len(set(values)) > 1
    return unequal or (earlier is not None and not _same(earlier, parsed))


def _same(text: str, other: str) -> bool:
    number = plain_number(text)
    return text == other or (number is not None and number == plain_number(other))


def math(response: str, problem: Problem) -> Verdict:
    """The last box (or `####`) is the gold answer: as text, as a number, else by math-verify."""
    parsed = last_boxed(response)
    if parsed is None:
        return _missing("\\boxed{} or ####")
    if two_answers(response, parsed):
        return Verdict(0.0, parsed, "There are two answers.", "malformed")
    gold = last_boxed(problem["answer"]) or problem["answer"].strip()
    if parsed == gold:
        return _judge(True, parsed)
    numbers = plain_number(parsed), plain_number(gold)
    if None not in numbers and (numbers[0] == numbers[1] or "%" not in parsed + gold):
        return _judge(numbers[0] == numbers[1], parsed)
    if not parsed or len(parsed) > 500:
        return Verdict(0.0, parsed, "The answer is empty or too long to compare.", "malformed")
    equal = equal_within(gold, parsed, MATH_SECONDS)
    if equal is None:
        return Verdict(0.0, parsed, f"The answer {parsed!r} could not be compared.", "timeout")
    return _judge(equal, parsed)


def last_number(response: str, problem: Problem) -> Verdict:
    """The last number of the response has the value of the gold number. Raises RosdError where the
    gold answer holds no number.
    """
    gold = last_number_of(problem["answer"])
    if gold is None or gold[1] is None:
        raise RosdError(
            f"grader last_number: the gold answer {problem['answer']!r} is no number; correct the "
            "data, or take another grader in prepare.domains."
        )
    found = last_number_of(response)
    if found is None:
        return _missing("number")
    parsed, value = found
    if value is None:
        return Verdict(0.0, parsed, f"The number {parsed} has no value.", "malformed")
    return _judge(value == gold[1], parsed)


def reasoning_gym(response: str, problem: Problem) -> Verdict:
    """The generator's own score in [0, 1] of the last `<answer>`; the entry is generated again from
    its name, config and index.
    """
    parsed = last_tagged(response)
    if parsed is None:
        return _missing("<answer>")
    entry = json.loads(problem["grader_data"])
    dataset = gym_dataset(entry["name"], entry["config"], entry["seed"], entry["size"])
    score = gym_score(dataset, entry["index"], parsed)
    if score is None:
        return Verdict(0.0, parsed, "The answer could not be read.", "error")
    right = score >= 1
    feedback = "The answer is right." if right else f"The answer {parsed!r} scores {score:.2f}."
    return Verdict(score, parsed, feedback)


GRADERS: dict[str, Callable[[str, Problem], Verdict]] = {
    f.__name__: f for f in (answer_line, exact, mcq, tool_use, math, last_number, reasoning_gym)
}
