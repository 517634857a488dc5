"""Every text that is put to a model: jinja2 templates from `params.yaml: prompts`, and what is left
out where one is too long.

`with_idea` is the self-teacher's prompt of ROSD: the problem and the corrective idea, never the
solution.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass

from jinja2 import Environment, StrictUndefined

from rosd_core.errors import RosdError

Messages = list[dict[str, str]]

_JINJA = Environment(undefined=StrictUndefined, autoescape=False, keep_trailing_newline=True)


@dataclass(frozen=True)
class Prompts:
    """Templates as text; each method returns the chat messages of one row."""

    plain_template: str
    reflect_wrong_template: str
    reflect_correct_template: str
    with_idea_template: str
    with_solution_template: str
    thinking: bool = False

    @staticmethod
    def _messages(template: str, system: str | None, **fields: str) -> Messages:
        user = {"role": "user", "content": _JINJA.from_string(template).render(**fields)}
        return [{"role": "system", "content": system}, user] if system else [user]

    def plain(self, problem: str, system: str | None = None) -> Messages:
        """The student's prompt: the problem alone."""
        return self._messages(self.plain_template, system, problem=problem)

    def reflect_wrong(
        self, problem: str, gold: str, correct: str, wrong: str, system: str | None = None
    ) -> Messages:
        """Ask for the exact error quote and the corrective idea of a wrong solution beside a
        correct one.
        """
        fields = {"problem": problem, "gold": gold, "correct": correct, "wrong": wrong}
        return self._messages(self.reflect_wrong_template, system, **fields)

    def reflect_correct(
        self, problem: str, gold: str, correct: str, system: str | None = None
    ) -> Messages:
        """Ask why a correct solution is right."""
        return self._messages(
            self.reflect_correct_template, system, problem=problem, gold=gold, correct=correct
        )

    def with_idea(self, problem: str, idea: str, system: str | None = None) -> Messages:
        """The self-teacher's prompt: the problem and the corrective idea."""
        return self._messages(self.with_idea_template, system, problem=problem, idea=idea)

    def with_solution(self, problem: str, solution: str, system: str | None = None) -> Messages:
        """The prompt of solution-imitating teachers: the problem and a correct solution."""
        return self._messages(
            self.with_solution_template, system, problem=problem, solution=solution
        )


GAP = " [...] "  # stands for what was left out


@dataclass(frozen=True)
class Fitted:
    """A prompt that fits: its messages, its token ids, and what it lacks (JSON: characters left out
    of each part; None where it is whole).
    """

    messages: Messages
    ids: list[int]
    shortened: str | None


def fit(
    ask: Callable[..., Messages],
    encode: Callable[[Messages], list[int]],
    longest: int,
    row: str,
    system: str | None = None,
    **parts: str,
) -> Fitted:
    """`ask(**parts)` in at most `longest` tokens.

    While it is longer, the longest part loses characters in its middle. The template's own words,
    the system message and the assistant's header always stay: published code that cuts from the
    right or left loses just these. Raises RosdError, naming `row`, where they alone are too long.
    """
    kept, cut = dict(parts), dict.fromkeys(parts, 0)
    while True:
        messages = ask(**kept, system=system)
        ids = encode(messages)
        if len(ids) <= longest:
            told = {name: count for name, count in cut.items() if count}
            return Fitted(messages, ids, json.dumps(told) if told else None)
        name = max(kept, key=lambda part: len(kept[part]))
        size = len(parts[name]) - cut[name]
        room = sum(map(len, kept.values())) / len(ids)  # characters per token, at most about this
        count = max(1, min(size - 1, int((len(ids) - longest) * room)))
        if size <= 1:
            raise RosdError(
                f"{row}: the prompt needs {len(ids)} tokens even with all its parts left out, "
                f"and max_prompt_tokens is {longest}; raise it, or shorten the templates."
            )
        cut[name] += count
        head = (size - count + 1) // 2
        tail = size - count - head
        whole = parts[name]
        kept[name] = whole[:head] + GAP + whole[len(whole) - tail :]
