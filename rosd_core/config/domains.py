"""`params.yaml: prepare.domains`: one model per task."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from rosd_core.config.section import Count, Extra, Positive, Section


class Domain(Section):
    """How many problems of a domain go into each split, and their system message (null: what the
    data or the task say, empty: none).
    """

    system: str | None = None  # the only key that may be left out
    train: Count | Literal["all"]
    test: Count | Literal["all"]


class PocketDomain(Domain):
    task: Literal["pocket"]
    domain: Literal["chain", "story", "formula", "dials", "largest"]
    train: Count
    test: Count
    steps: Annotated[list[Positive], Field(min_length=1)]


class FileDomain(Domain):
    task: Literal["sciknoweval", "tooluse", "gsm8k", "math"]
    train_file: str | None
    test_file: str | None


class TableDomain(Domain):
    task: Literal["table"]
    train_file: str | None
    test_file: str | None
    columns: dict[Literal["prompt", "answer", "solution", "system"], str]
    grader: str

    @model_validator(mode="after")
    def _has_prompt_and_answer(self) -> "TableDomain":
        if not {"prompt", "answer"} <= set(self.columns):
            raise ValueError("columns of a table domain must name prompt and answer")
        return self


class GymDomain(Domain):
    task: Literal["reasoning_gym"]
    generator: str
    config: Extra
    train: Count
    test: Count


AnyDomain = Annotated[
    PocketDomain | FileDomain | TableDomain | GymDomain, Field(discriminator="task")
]
