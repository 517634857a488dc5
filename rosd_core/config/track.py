"""The section `track` of params.yaml, which `rosd track` reads; no stage does."""

from typing import Annotated, Literal

from pydantic import Field

from rosd_core.config.section import Section


class Track(Section):
    to: Literal["none", "trackio", "wandb", "tensorboard"]
    project: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]+$", max_length=64)]
