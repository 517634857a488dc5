"""A study: `study/<name>.yaml`, validated, and the arms that its grids make.

An *arm* is one point of a grid; with a seed it is a *run*, of all iterations.
"""

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from rosd_core.config.edit import with_values
from rosd_core.config.methods import METHODS
from rosd_core.config.params import Params
from rosd_core.config.section import Positive, Section
from rosd_core.errors import RosdError

Value = str | bool | int | float


class Select(Section):
    """Of arms that differ in `axis` alone, the best one on `domain` counts."""

    axis: str
    domain: str


class Study(Section):
    """The keys of study/<name>.yaml; the shipped files explain each."""

    title: str
    seeds: Annotated[list[int], Field(min_length=1)]
    seeded: Annotated[list[str], Field(min_length=1)]
    iterations: Positive
    evaluate_every: Positive
    params: dict[str, Any]
    settings: dict[str, dict[str, Any]]
    arms: Annotated[
        list[dict[str, Annotated[list[Value], Field(min_length=1)]]], Field(min_length=1)
    ]
    select: Select | None
    baseline: dict[str, Value]


@dataclass(frozen=True)
class Arm:
    """`point`: the values of the axes; `changes`: those of params that they stand for."""

    point: Mapping[str, Value]
    changes: Mapping[str, Any]
    iterations: int
    evaluate_every: int

    @property
    def label(self) -> str:
        """Its values in the order of the axes, such as `rosd, forward KL, 2e-05`."""
        return label(self.point)


@dataclass(frozen=True)
class Run:
    """An arm with a seed, and the params that it runs with."""

    arm: Arm
    seed: int
    params: Params

    @property
    def name(self) -> str:
        """Its name as a file."""
        return f"{re.sub(r'[^A-Za-z0-9.]+', '-', self.arm.label)}-{self.seed}"

    def settings(self) -> dict[str, Any]:
        """The values that its result depends on, as JSON has them."""
        return self.params.model_dump(mode="json", exclude=NEUTRAL)

    def is_of(self, stored: Mapping[str, Any]) -> bool:
        """Whether a result was made with these settings. A key that params.yaml has gained since
        then is taken to be neutral: it arrives with a value that changes nothing.
        """
        return _holds(stored, self.settings())


NEUTRAL = {"bootstrap", "report", "engine", "track"}


def _holds(stored: Any, now: Any) -> bool:
    """Whether every value in `stored` is the same in `now`."""
    if isinstance(stored, Mapping) and isinstance(now, Mapping):
        return all(key in now and _holds(value, now[key]) for key, value in stored.items())
    return stored == now


def label(point: Mapping[str, Value]) -> str:
    return ", ".join(
        f"{value:g}" if isinstance(value, float) else str(value) for value in point.values()
    )


def load_study(file: Path) -> Study:
    """Read and validate a study file. Raises RosdError with one line per complaint."""
    try:
        data = YAML(typ="safe").load(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        there = sorted(f.stem for f in file.parent.glob("*.yaml") if f.name != "dvc.yaml")
        raise RosdError(f"{file}: no such file; there are: {', '.join(there) or 'none'}.") from None
    except (UnicodeDecodeError, YAMLError) as error:
        raise RosdError(f"{file}: not valid YAML: {error}.") from None
    try:
        return Study.model_validate(data)
    except ValidationError as error:
        lines = [f"{file}: {'.'.join(map(str, e['loc']))}: {e['msg']}." for e in error.errors()]
        raise RosdError("\n".join(lines)) from None


def arms_of(study: Study) -> list[Arm]:
    """The points of all grids, each once, in their order."""
    found: dict[str, Arm] = {}
    for grid in study.arms:
        for values in itertools.product(*grid.values()):
            arm = _arm(study, dict(zip(grid, values, strict=True)))
            found.setdefault(arm.label, arm)
    return list(found.values())


def _arm(study: Study, point: Mapping[str, Value]) -> Arm:
    changes: dict[str, Any] = {}
    for axis, value in point.items():
        changes |= _changes(study, axis, value)
    own = {
        name: changes.pop(name, getattr(study, name)) for name in ("iterations", "evaluate_every")
    }
    return Arm(point, changes, **own)


def _changes(study: Study, axis: str, value: Value) -> Mapping[str, Any]:
    """What a value of an axis stands for."""
    if "." in axis:
        return {axis: value}
    table = METHODS if axis == "method" else study.settings
    if value not in table:
        where = "methods" if axis == "method" else "settings"
        raise RosdError(
            f"the study's arms: {value!r} of axis {axis!r} is none of its {where}: "
            f"{', '.join(table)}."
        )
    return table[str(value)]


def runs_of(study: Study, params: Params) -> list[Run]:
    """All runs, seed by seed, so that a study that is stopped has whole seeds. Raises RosdError for
    a key that params do not have, a value that they refuse, and arms of the same name.
    """
    arms = arms_of(study)
    runs = [_run(study, params, arm, seed) for seed in study.seeds for arm in arms]
    if len({run.name for run in runs}) < len(runs):
        raise RosdError("the study's arms: two have the same name; name their settings apart.")
    return runs


def shared_params(study: Study, params: Params, seed: int) -> Params:
    """What all arms of a seed have in common."""
    changes = study.params | dict.fromkeys(study.seeded, seed)
    own = {"loop": {"i1": {"start": "base"}}, "engine.workers": 1}
    return _with(params, changes | own, "params and seeded")


def _run(study: Study, params: Params, arm: Arm, seed: int) -> Run:
    names = ["base", *(f"i{n}" for n in range(1, arm.iterations + 1))]
    loop = {name: {"start": start} for start, name in itertools.pairwise(names)}
    shared = shared_params(study, params, seed)
    return Run(arm, seed, _with(shared, {**arm.changes, "loop": loop}, arm.label))


def _with(params: Params, changes: Mapping[str, Any], where: str) -> Params:
    try:
        return with_values(params, changes)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise RosdError(f"the study's {where}: {key}: {first['msg']}.") from None
    except (KeyError, TypeError) as error:
        raise RosdError(f"the study's {where}: params.yaml has no {error}.") from None
