"""What the sections of params.yaml share."""

import dataclasses
import math
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

MOST = 10**9  # what no count, rate or weight needs to exceed
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Positive = Annotated[int, Field(ge=1, le=MOST)]
Count = Annotated[int, Field(ge=0, le=MOST)]
Share = Annotated[float, Field(ge=0, le=1)]
Rate = Annotated[float, Field(gt=0, le=MOST)]
NotNegative = Annotated[float, Field(ge=0, le=MOST)]


def _numbers_are_finite(data: Any) -> Any:
    """Data of another library's keys, checked however deep a number lies in it."""
    if isinstance(data, float) and not math.isfinite(data):
        raise ValueError(f"{data} is no number that a setting can have")
    for part in data.values() if isinstance(data, dict) else data if isinstance(data, list) else ():
        _numbers_are_finite(part)
    return data


Extra = Annotated[dict[str, Any], AfterValidator(_numbers_are_finite)]


class Section(BaseModel):
    """A part of params.yaml: frozen; unknown keys and numbers that are not finite are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    def values_for(self, settings: type) -> dict[str, Any]:
        """The keys of this section that are fields of a dataclass, with their values."""
        names = {field.name for field in dataclasses.fields(settings)}
        return {name: getattr(self, name) for name in type(self).model_fields if name in names}
