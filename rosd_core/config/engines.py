"""`params.yaml: engine`: the settings of the engines, and where they run; and `score.teacher`."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, Field

from rosd_core.config.section import Count, Extra, Positive, Rate, Section

EngineName = Literal["transformers", "vllm", "server"]
OwnTeacher = Literal["base", "current", "ema", "trust_region"]


class OtherModel(Section):
    """A model beside the student's: a folder, or an id on the hub."""

    model: str


def _teacher(value: Any) -> Any:
    """One complaint for `score.teacher` instead of one per kind of it."""
    if isinstance(value, Mapping) and set(value) == {"model"} and isinstance(value["model"], str):
        return OtherModel(model=value["model"])
    if value not in get_args(OwnTeacher) and not isinstance(value, OtherModel):
        names = ", ".join(map(repr, get_args(OwnTeacher)))
        raise ValueError(f"score.teacher = {value!r}: allowed are {names} and {{model: FOLDER}}")
    return value


TeacherName = Annotated[OwnTeacher | OtherModel, BeforeValidator(_teacher)]


class Vllm(Section):
    """Of vLLM in the stage's own process."""

    dtype: Literal["auto", "float32", "bfloat16", "float16"]
    gpu_memory: Annotated[float, Field(gt=0, le=1)]
    cpu_cache_gib: Positive
    tensor_parallel: Positive
    pipeline_parallel: Positive
    eager: bool
    options: Extra


class Server(Section):
    """Of a server that is running already."""

    url: Annotated[str, Field(pattern=r"^https?://[^/]")]
    model: str | None
    concurrency: Positive
    timeout: Rate
    retries: Count


class Parity(Section):
    """Of the check of the engine's log-probabilities against the training forward pass."""

    rows: Count
    bound: Rate


class Engine(Section):
    workers: Positive
    address: str
    vllm: Vllm
    server: Server
    parity: Parity
