"""What the teacher reads beside the problem: a function for each value of
`alignments.teacher_context`.

| context | what the teacher reads |
| --- | --- |
| idea | the corrective idea (ROSD, arXiv 2605.28014) |
| peer | a correct response of the group, without its thinking |
| reference | the data's solution (OPSD, arXiv 2601.18734) |
| feedback | the student's own attempt, without its thinking, and the grader's words on it |
| feedback_peer | both: the attempt with the grader's words, and a correct peer (SDPO, 2601.20802) |
| critique | the attempt, line by line, up to the error (arXiv 2606.11173; see score/critique.py) |
| plain | nothing: the very prompt of the student |
| none | there is no teacher |

To add one: write its function, add it to `CONTEXTS`, and to those of `align` (align/contexts.py).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from rosd_core.errors import RosdError
from rosd_core.prompts.fit import FittedPrompt, PromptBuilder
from rosd_core.prompts.templates import Messages, Prompts
from rosd_core.prompts.thinking import without_thinking
from rosd_core.score.critique import write_critique

Fields = dict[str, str | None]  # of a template, less the problem; None: the tables have no text
Choice = tuple[Callable[..., Messages], Fields]


@dataclass(frozen=True)
class KnownRow:
    """The rows that the tables hold on a rollout, and its peer's response, if there is one."""

    alignment: Mapping[str, Any]
    rollout: Mapping[str, Any]
    reflection: Mapping[str, Any]
    problem: Mapping[str, Any]
    peer: str | None

    @property
    def demonstration(self) -> str | None:
        """The peer's response without its thinking."""
        return None if self.peer is None else without_thinking(self.peer)


def _idea(row: KnownRow, prompts: Prompts) -> Choice:
    return prompts.with_idea, {"idea": row.reflection["idea"]}


def _peer(row: KnownRow, prompts: Prompts) -> Choice:
    return prompts.with_solution, {"solution": row.demonstration}


def _reference(row: KnownRow, prompts: Prompts) -> Choice:
    return prompts.with_solution, {"solution": row.problem["solution"]}


def _feedback(row: KnownRow, prompts: Prompts) -> Choice:
    return prompts.with_feedback, {
        "attempt": without_thinking(row.rollout["response"]),
        "solution": "",
        "feedback": row.rollout["feedback"].strip() or None,
    }


def _feedback_peer(row: KnownRow, prompts: Prompts) -> Choice:
    template, fields = _feedback(row, prompts)
    return template, fields | {"solution": row.demonstration}


def _critique(row: KnownRow, prompts: Prompts) -> Choice:
    idea, wrong = row.reflection["idea"], row.alignment["kind"] == "wrong"
    places = (quote["char_start"] for quote in row.alignment["quotes"] or ())
    error = min((place for place in places if place is not None), default=None)
    if idea is None or (wrong and error is None):
        return prompts.with_critique, {"critique": None}
    text = write_critique(row.rollout["response"], error if wrong else None, idea)
    return prompts.with_critique, {"critique": text}


READS_PEER = ("peer", "feedback_peer")
CONTEXTS: dict[str, Callable[[KnownRow, Prompts], Choice]] = {
    "idea": _idea,
    "peer": _peer,
    "reference": _reference,
    "feedback": _feedback,
    "feedback_peer": _feedback_peer,
    "critique": _critique,
}


def teacher_prompt(row: KnownRow, builder: PromptBuilder) -> FittedPrompt:
    """The problem with the context that align chose: the ids that the student read with `plain`,
    empty where the loss has no teacher (`none`).

    Raises RosdError where the tables do not hold the context's text.
    """
    context, rollout_id = row.alignment["teacher_context"], row.alignment["rollout_id"]
    if context == "none":
        return FittedPrompt([], [], None)
    if context == "plain":
        return FittedPrompt([], list(row.rollout["prompt_ids"]), row.rollout["shortened"])
    template, fields = CONTEXTS[context](row, builder.prompts)
    parts = {"problem": row.problem["prompt"]}
    for name, text in fields.items():
        if text is None:
            raise RosdError(
                f"rollout {rollout_id}: its teacher context is {context}, but there is no {name} "
                "for it; the tables are of different runs."
            )
        parts[name] = text
    return builder.build(template, rollout_id, row.problem["system"], **parts)
