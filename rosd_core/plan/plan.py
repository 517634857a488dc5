"""The plan of an iteration and of a loop: a line per stage, and what will not fit."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from rosd_core.plan.advice import advice_on
from rosd_core.plan.case import Case
from rosd_core.plan.hardware import Hardware
from rosd_core.plan.known import Known
from rosd_core.plan.lines import Line, lines_of
from rosd_core.plan.model_shape import ModelShape


@dataclass(frozen=True)
class Plan:
    """`iteration` is one after the first, unless there is only one. `loop` has the sums of a loop
    of so many: tokens, flops, disk, seconds.
    """

    shape: ModelShape
    hardware: Hardware
    numbers: Mapping[str, Known]
    iterations: int
    iteration: list[Line]
    loop: Mapping[str, float]
    advice: list[str]

    def as_json(self) -> dict[str, Any]:
        """All of it as plain numbers; bytes, seconds and operations."""
        lines = []
        for line in self.iteration:
            one = asdict(line)
            memory = {"total": line.memory.total, **line.memory.parts}
            lines.append(one | {"memory": memory, "disk": dict(line.disk), "fits": line.fits})
        return {
            "model": asdict(self.shape),
            "hardware": asdict(self.hardware),
            "numbers": {name: asdict(known) for name, known in self.numbers.items()},
            "iterations": self.iterations,
            "iteration": lines,
            "loop": dict(self.loop),
            "advice": self.advice,
        }


def make_plan(case: Case, iterations: int) -> Plan:
    """The plan of a loop of so many iterations, all of this workload."""
    first = lines_of(case, first=True)
    later = lines_of(case, first=False) if iterations > 1 else first
    loop = {}
    for name in ("read", "sampled", "flops", "seconds"):
        one, next_one = (sum(getattr(line, name) for line in lines) for lines in (first, later))
        loop[name] = one + (iterations - 1) * next_one
    if case.forks:  # what all stages import is imported once
        loop["seconds"] += case.hardware.start
    loop["disk"] = iterations * sum(sum(line.disk.values()) for line in later)
    numbers, advice = case.load.told(), advice_on(case, later)
    return Plan(case.shape, case.hardware, numbers, iterations, later, loop, advice)
