"""`params.yaml: prompts`: templates, each checked against the fields that it may and must use."""

from typing import Any, Literal

from jinja2 import TemplateError, TemplateSyntaxError, meta
from pydantic import model_validator

from rosd_core.config.section import Section
from rosd_core.prompts.sandbox import JINJA

# template -> the fields that it may use; the one that it must use comes last
FIELDS = {
    "plain": ("problem",),
    "reflect_wrong": ("problem", "gold", "correct", "wrong"),
    "reflect_correct": ("problem", "gold", "correct"),
    "with_idea": ("problem", "idea"),
    "with_solution": ("problem", "solution"),
    "with_feedback": ("problem", "attempt", "solution", "feedback"),
    "with_critique": ("problem", "critique"),
}


class Examples(Section):
    """Solved examples of a template: its fields and the `response` to them."""

    plain: list[dict[Literal["problem", "response"], str]]
    reflect_wrong: list[dict[Literal["problem", "gold", "correct", "wrong", "response"], str]]
    reflect_correct: list[dict[Literal["problem", "gold", "correct", "response"], str]]

    @model_validator(mode="after")
    def _are_whole(self) -> "Examples":
        for name in type(self).model_fields:
            fields = {*FIELDS[name], "response"}
            for number, example in enumerate(getattr(self, name), 1):
                if missing := sorted(fields - set(example)):
                    raise ValueError(
                        f"prompts.examples.{name}: example {number} has no {missing[0]}"
                    )
        return self


class Thinking(Section):
    """Whether each reader of a prompt thinks before it answers."""

    student: bool
    reflector: bool
    teacher: bool


class PromptTexts(Section):
    plain: str
    reflect_wrong: str
    reflect_correct: str
    with_idea: str
    with_solution: str
    with_feedback: str
    with_critique: str
    examples: Examples
    thinking: Thinking

    @model_validator(mode="after")
    def _fields_are_known(self) -> "PromptTexts":
        for name, fields in FIELDS.items():
            _check(name, getattr(self, name), fields)
        return self

    def only(self, *names: str) -> dict[str, str]:
        """Some of the templates: a stage reads those that it declares."""
        return {name: getattr(self, name) for name in names}

    def examples_for(self, *names: str) -> dict[str, list[dict[Any, str]]]:
        """The examples of some of the templates."""
        return {name: getattr(self.examples, name) for name in names}


def _check(name: str, template: str, fields: tuple[str, ...]) -> None:
    """Raises ValueError for a template that is not valid jinja2, whose fields are wrong, or that
    cannot be filled in.
    """
    try:
        used = meta.find_undeclared_variables(JINJA.parse(template))
        rendered = JINJA.from_string(template)
    except TemplateSyntaxError as error:
        line = f"line {error.lineno}: {error.message}"
        raise ValueError(f"prompts.{name}: not a valid jinja2 template: {line}") from None
    unknown = sorted(used - set(fields))
    if unknown:
        raise ValueError(
            f"prompts.{name}: unknown field {unknown[0]!r}; there are: {', '.join(fields)}"
        )
    if fields[-1] not in used:
        raise ValueError(f"prompts.{name}: the field {{{{ {fields[-1]} }}}} is missing")
    try:
        rendered.render(dict.fromkeys(fields, "text"))
    except (TemplateError, ArithmeticError, AttributeError, LookupError, TypeError) as error:
        raise ValueError(f"prompts.{name}: cannot be filled in: {error}") from None
