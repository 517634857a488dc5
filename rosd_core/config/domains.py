"""`params.yaml: prepare.domains`: one model per task, and what all sections share."""

import dataclasses
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Positive = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Rate = Annotated[float, Field(gt=0)]


class Section(BaseModel):
    """A part of params.yaml: frozen, unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def values_for(self, settings: type) -> dict[str, Any]:
        """The keys of this section that are fields of a dataclass, with their values."""
        names = {field.name for field in dataclasses.fields(settings)}
        return {name: getattr(self, name) for name in type(self).model_fields if name in names}


class Domain(Section):
    """How many problems of a domain go into each split."""

    train: Annotated[int, Field(ge=0)] | Literal["all"]
    test: Annotated[int, Field(ge=0)] | Literal["all"]


class PocketDomain(Domain):
    task: Literal["pocket"]
    domain: Literal["chain", "story", "formula", "dials", "largest"]
    train: Annotated[int, Field(ge=0)]
    test: Annotated[int, Field(ge=0)]
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
    config: dict[str, Any]
    train: Annotated[int, Field(ge=0)]
    test: Annotated[int, Field(ge=0)]


AnyDomain = Annotated[
    PocketDomain | FileDomain | TableDomain | GymDomain, Field(discriminator="task")
]
