"""A number with where it comes from, so that a plan can say how far to trust it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rosd_core.errors import RosdError


@dataclass(frozen=True)
class Known:
    """A number and its origin, such as `measured in i1`, `params` or `assumed: half of ...`."""

    value: float
    origin: str


@dataclass(frozen=True)
class Measured:
    """What the stages of the newest iteration that has them wrote to metrics/: a value by stage and
    key, or nothing. An empty `keys` measures nothing.
    """

    folder: Path
    keys: Sequence[str]

    def newest(self, stage: str, others: Sequence[str] = ()) -> tuple[dict[str, Any], str]:
        """The metrics of a stage and its iteration, ({}, "") where there are none. Raises RosdError
        for a damaged file.
        """
        for key in (*reversed(self.keys), *others):
            file = self.folder / f"{stage}-{key}.json"
            if file.is_file():
                try:
                    return json.loads(file.read_text(encoding="utf-8")), key
                except ValueError:
                    raise RosdError(f"{file}: not JSON; delete it and run `dvc repro`.") from None
        return {}, ""

    def number(self, stage: str, names: tuple[str, ...], otherwise: Known) -> Known:
        """One value, or the quotient of two, of the newest iteration; else `otherwise`."""
        found, key = self.newest(stage)
        values = [found[name] for name in names if found.get(name) is not None]
        if len(values) < len(names) or (len(values) == 2 and not values[1]):
            return otherwise
        value = values[0] if len(values) == 1 else values[0] / values[1]
        return Known(float(value), f"measured in {key}")
