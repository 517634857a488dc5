"""Every text that is put to a model: jinja2 templates from `params.yaml: prompts`, and what is left
out where one is too long.

`with_idea` is the self-teacher's prompt of ROSD: the problem and the corrective idea, never the
solution.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, StrictUndefined

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

    @classmethod
    def from_params(cls, texts: Mapping[str, Any]) -> "Prompts":
        """From `params.yaml: prompts`."""
        names = ("plain", "reflect_wrong", "reflect_correct", "with_idea", "with_solution")
        return cls(*(texts[name] for name in names), thinking=texts["enable_thinking"])

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
