"""A line of the plan for every stage of an iteration."""

from collections.abc import Mapping
from dataclasses import dataclass

from rosd_core.config.params import Params
from rosd_core.plan.case import Case
from rosd_core.plan.disk import stage_bytes
from rosd_core.plan.hardware import Hardware
from rosd_core.plan.memory import Memory, stage_memory
from rosd_core.plan.work import StageWork, stage_work

WITHOUT_MODEL = 0.25  # of the start of a stage with a model: align imports no torch
FORKED = 0.1  # of that start: what DVC and a fork take where `rosd repro` has imported before
SAMPLING = ("rollout", "reflect", "evaluate")


@dataclass(frozen=True)
class Line:
    """A stage: tokens, operations, bytes on disk, the memory of a process and the room for it, how
    many processes share the work and how many GPUs each has, seconds under `rosd repro` and as a
    command by hand.
    """

    stage: str
    read: float
    sampled: float
    supervised: float
    flops: float
    disk: Mapping[str, float]
    memory: Memory
    room: float
    processes: int
    gpus: int
    seconds: float
    by_hand: float

    @property
    def fits(self) -> bool:
        return self.memory.total <= self.room


def lines_of(case: Case, first: bool) -> list[Line]:
    """The stages of an iteration; `first`: it starts from the base model."""
    memory, disk = stage_memory(case, first), stage_bytes(case)
    works = stage_work(case, first)
    return [_line(case, work, memory[work.stage], disk[work.stage]) for work in works]


def _line(case: Case, work: StageWork, memory: Memory, disk: Mapping[str, float]) -> Line:
    hardware = case.hardware
    count, each = processes_of(case.params, work.stage, hardware)
    start = hardware.start * (WITHOUT_MODEL if work.stage == "align" else 1)
    seconds = work.cost.seconds(hardware, work.width) / (count * max(1, each))
    by_hand = start + seconds
    seconds += FORKED * hardware.start if case.forks else start
    room = hardware.memory if hardware.device == "cuda" else hardware.memory / count
    return Line(
        work.stage, work.read, work.sampled, work.supervised, work.cost.flops, disk, memory, room,
        count, each, seconds, by_hand,
    )  # fmt: skip


def processes_of(params: Params, stage: str, hardware: Hardware) -> tuple[int, int]:
    """How many processes share a stage, and the GPUs of each."""
    if stage == "align":
        return 1, 0
    if stage == "distill":
        return hardware.gpus, 1
    vllm, each = params.engine.vllm, 1
    if stage in SAMPLING and getattr(params, stage).engine == "vllm":
        each = vllm.tensor_parallel * vllm.pipeline_parallel
    return params.engine.workers, each
