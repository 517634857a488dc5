"""What a tracker is given: the curves by optimizer step, the metrics by iteration."""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import polars as pl


@dataclass(frozen=True)
class Point:
    """Values at one place of an axis: the optimizer step, or the number of the iteration (base is
    0). A value's name is GROUP/NAME, which trackers show as groups.
    """

    axis: Literal["step", "iteration"]
    at: int
    values: dict[str, float]


def curve_points(curves: Mapping[str, pl.DataFrame]) -> list[Point]:
    """A point per optimizer step: every column of curves/<iteration>.csv as `train/<column>`. Steps
    count through all iterations.
    """
    points = []
    for curve in curves.values():
        for row in curve.iter_rows(named=True):
            values = {f"train/{k}": float(v) for k, v in row.items() if k != "step" and _known(v)}
            points.append(Point("step", int(row["step"]), values))
    return points


def iteration_points(quantities: Mapping[str, Mapping[str, float]]) -> list[Point]:
    """A point per iteration, in their order: `stage.key` of its metrics as `stage/key`, and mean@k
    of each domain once more as `accuracy/<domain>`.
    """
    points = []
    for number, found in enumerate(quantities.values()):
        known = {name: value for name, value in sorted(found.items()) if _known(value)}
        values = {
            f"accuracy/{name.removeprefix('evaluate.').removesuffix('.mean')}": value
            for name, value in known.items()
            if name.startswith("evaluate.") and name.endswith(".mean")
        }
        values |= {name.replace(".", "/", 1): value for name, value in known.items()}
        points.append(Point("iteration", number, values))
    return points


def _known(value: float | int | None) -> bool:
    return value is not None and math.isfinite(value)


def digest(settings: Mapping[str, Any], points: list[Point]) -> str:
    """12 hex digits that identify settings and results: equal ones are the same run."""
    data = json.dumps([settings, [asdict(point) for point in points]], sort_keys=True)
    return hashlib.sha256(data.encode()).hexdigest()[:12]


def flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by their whole keys: {"a": {"b": 1}} as {"a.b": 1}; lists as JSON."""
    found: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping) and value:
            found |= flat(value, f"{prefix}{key}.")
        else:
            plain = value is None or isinstance(value, str | int | float)
            found[prefix + key] = value if plain else json.dumps(value)
    return found
