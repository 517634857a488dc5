"""The text of every prompt: jinja2 templates from `params.yaml: prompts`.

`with_idea` is the self-teacher's prompt of ROSD: the problem and the corrective idea, never the
solution.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rosd_core.prompts.sandbox import compiled
from rosd_core.tables.row_types import Message

Messages = list[Message]


@dataclass(frozen=True)
class Prompts:
    """Templates by name, from `params.yaml: prompts`, and whether their reader thinks; each method
    returns the chat messages of one prompt.
    """

    templates: Mapping[str, str]
    thinking: bool = False
    examples: Mapping[str, Sequence[Mapping[str, str]]] = field(default_factory=dict)

    def _messages(self, template: str, system: str | None, **fields: str) -> Messages:
        """System message, the examples as earlier turns, and the template with its fields. The
        teacher's prompts have the examples of the student's: they differ by the idea or the
        solution alone.
        """
        shown = "plain" if template.startswith("with_") else template
        messages: Messages = [{"role": "system", "content": system}] if system else []
        for example in self.examples.get(shown, ()):
            asked = {name: text for name, text in example.items() if name != "response"}
            messages.append({"role": "user", "content": self._render(shown, asked)})
            messages.append({"role": "assistant", "content": example["response"]})
        return [*messages, {"role": "user", "content": self._render(template, fields)}]

    def _render(self, template: str, fields: Mapping[str, str]) -> str:
        return compiled(self.templates[template]).render(**fields)

    def plain(self, problem: str, system: str | None = None) -> Messages:
        """The student's prompt: the problem alone."""
        return self._messages("plain", system, problem=problem)

    def reflect_wrong(
        self, problem: str, gold: str, correct: str, wrong: str, system: str | None = None
    ) -> Messages:
        """Ask for the exact error quote and the corrective idea of a wrong solution beside a
        correct one.
        """
        fields = {"problem": problem, "gold": gold, "correct": correct, "wrong": wrong}
        return self._messages("reflect_wrong", system, **fields)

    def reflect_correct(
        self, problem: str, gold: str, correct: str, system: str | None = None
    ) -> Messages:
        """Ask why a correct solution is right."""
        fields = {"problem": problem, "gold": gold, "correct": correct}
        return self._messages("reflect_correct", system, **fields)

    def with_idea(self, problem: str, idea: str, system: str | None = None) -> Messages:
        """The self-teacher's prompt: the problem and the corrective idea."""
        return self._messages("with_idea", system, problem=problem, idea=idea)

    def with_solution(self, problem: str, solution: str, system: str | None = None) -> Messages:
        """The prompt of teachers that imitate a solution: the problem and a correct one."""
        return self._messages("with_solution", system, problem=problem, solution=solution)

    def with_feedback(
        self, problem: str, attempt: str, solution: str, feedback: str, system: str | None = None
    ) -> Messages:
        """The prompt of teachers that read the grader's words on the student's own attempt, and a
        correct solution where there is one (else empty).
        """
        fields = {"attempt": attempt, "solution": solution, "feedback": feedback}
        return self._messages("with_feedback", system, problem=problem, **fields)

    def with_critique(self, problem: str, critique: str, system: str | None = None) -> Messages:
        """The prompt of teachers that read the student's response with a verdict on each line."""
        return self._messages("with_critique", system, problem=problem, critique=critique)
