"""A case that the tests of plans change."""

from dataclasses import replace
from functools import cache

from rosd_core.config.load import load_params
from rosd_core.config.params import Params
from rosd_core.plan.case import Case
from rosd_core.plan.hardware import GIB, Hardware, card
from rosd_core.plan.known import Known
from rosd_core.plan.layout import training_of
from rosd_core.plan.lengths import PromptLengths
from rosd_core.plan.model_shape import ModelShape
from rosd_core.plan.workload import Workload
from tests.support import ROOT

# of tests/plan/test_shape.py: TINY
TINY = ModelShape(
    parameters=1448, body=1152, layers=2, hidden=8, intermediate=16, query_width=8, cache_width=4,
    vocabulary=32, tied=True,
)  # fmt: skip
CPU = Hardware("a CPU", "cpu", {4: 1e9, 2: 1e9}, 1e9, 1e9, 1e-6, 1.0, 4 * GIB)


def known(value: float) -> Known:
    return Known(value, "a test")


def prompt(tokens: float, shared: float = 0.0) -> PromptLengths:
    return PromptLengths(known(tokens), tokens, shared, tokens)


LOAD = Workload(
    problems=known(10), group=4, prompt=prompt(20), response=known(10), wrong=known(0.5),
    reflected=known(1), question=prompt(50), answer=known(8), supervised=known(1),
    supervised_tokens=known(0.75), teacher=prompt(30), tests=known(6), test_prompt=prompt(20),
    test_response=known(10), samples=2,
)  # fmt: skip


@cache
def shipped() -> Params:
    return load_params(ROOT / "params.yaml")


def params(**sections: dict) -> Params:
    """The shipped params with some keys changed."""
    if not sections:
        return shipped()
    data = shipped().model_dump()
    changed = {name: data[name] | values for name, values in sections.items()}
    return Params.model_validate(data | changed)


def case(load: Workload = LOAD, hardware: Hardware = CPU, **sections: dict) -> Case:
    values = params(**sections)
    return Case(TINY, values, load, training_of(values.distill, TINY, hardware.gpus), hardware)


def on(name: str, gpus: int, shape: ModelShape, **sections: dict) -> Case:
    """A larger model on GPUs."""
    hardware, values = card(name, gpus), params(**sections)
    load = replace(LOAD, problems=known(100), prompt=prompt(500), response=known(2000))
    return Case(shape, values, load, training_of(values.distill, shape, gpus), hardware)
