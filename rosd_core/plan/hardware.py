"""What the hardware does: measured on this machine's CPU in about a second, published for GPUs."""

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch

from rosd_core.errors import RosdError
from rosd_core.plan.model_shape import ModelShape

GIB = 2**30
TERA = 1e12
EFFICIENCY = 0.5  # of a GPU's peak that matrix products reach here, and of its bandwidth: assumed
GPU_DISPATCH = 3e-6  # seconds of a call beside the GPU: assumed
GPU_START = 15.0  # seconds until a process has its model on the GPU: assumed
TRIES = 8
SUSTAINED = 0.8  # of the best products measured, what those of a model's layers reach on a CPU


@dataclass(frozen=True)
class Card:
    """A GPU: dense peaks in TFLOP/s (bf16 on tensor cores with sums in fp32, and plain fp32),
    memory in GiB as torch reports it, bandwidth in GB/s.
    """

    bf16: float
    fp32: float
    memory: float
    bandwidth: float


# NVIDIA's data sheets (H100 SXM, H200 SXM, A100 80GB SXM, L40S) and the Ada whitepaper (4090)
CARDS = {
    "H100": Card(989.0, 67.0, 79.1, 3350),
    "H200": Card(989.0, 67.0, 139.8, 4800),
    "A100": Card(312.0, 19.5, 79.1, 2039),
    "L40S": Card(362.0, 91.6, 44.4, 864),
    "4090": Card(165.2, 82.6, 23.6, 1008),
}


@dataclass(frozen=True)
class Hardware:
    """One process' share of a machine. `rates`: operations a second by bytes a number (2, 4);
    `read`, `moved`: bytes a second of weights in a product, and of element-wise work; `dispatch`:
    seconds of a small operation; `start`: seconds until a stage has imported what it needs;
    `memory`: bytes.
    """

    name: str
    device: str
    rates: Mapping[int, float]
    read: float
    moved: float
    dispatch: float
    start: float
    memory: float
    gpus: int = 1


def this_cpu(shape: ModelShape, threads: int, start: float) -> Hardware:
    """This machine's CPU with so many threads; `start` is what a stage needs to begin."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    width, inner = min(shape.hidden, 4096), min(shape.intermediate, 4096)
    left, right = torch.randn(384, width), torch.randn(inner, width)
    repeat = max(1, round(1e9 / (2 * 384 * width * inner)))
    product = _best(threads, lambda: [left @ right.t() for _ in range(repeat)])
    left_16, right_16 = left.bfloat16(), right.bfloat16()
    product_16 = _best(threads, lambda: left_16 @ right_16.t())  # slow without units for it
    weights, one = torch.ones(1 << 13, 1 << 12), torch.ones(1, 1 << 12)  # 128 MiB
    read = _best(threads, lambda: one @ weights.t())
    block, small = torch.ones(1 << 24), torch.ones(8)  # 64 MiB: its memory is new each time
    added = _best(threads, lambda: block.add(1))
    called = _best(threads, lambda: [small.add(1) for _ in range(1000)])
    torch.set_num_threads(before)
    operations = SUSTAINED * 2 * 384 * width * inner
    return Hardware(
        name=f"this machine's CPU, {threads} thread{'s' if threads > 1 else ''}",
        device="cpu",
        rates={4: repeat * operations / product, 2: operations / product_16},
        read=SUSTAINED * weights.numel() * 4 / read,
        moved=2 * block.numel() * 4 / added,
        dispatch=called / 1000,
        start=start,
        memory=free_memory(),
    )


def _best(threads: int, work: Callable[[], object]) -> float:
    """CPU seconds of a thread in the fastest of a few tries: what it takes on an idle machine,
    whoever else uses this one now.
    """
    times = []
    for _ in range(TRIES):
        started = time.process_time()
        work()
        times.append(time.process_time() - started)
    return min(times) / threads


def free_memory() -> float:
    """Bytes that are free, or would be if files were not kept in memory."""
    try:
        with open("/proc/meminfo", encoding="ascii") as file:  # noqa: PTH123 (no file of a project)
            lines = dict(line.split(":", 1) for line in file)
        return int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")


def card(name: str, gpus: int) -> Hardware:
    """So many GPUs of a name in CARDS. Raises RosdError for another one."""
    found = next((key for key in CARDS if key.lower() == name.lower()), None)
    if found is None:
        raise RosdError(
            f"--card {name!r} is unknown; there are: {', '.join(CARDS)}. For another one, name the "
            "most similar, and --rate and --memory."
        )
    one = CARDS[found]
    return Hardware(
        name=f"{gpus} x {found}, at {EFFICIENCY:.0%} of its published rates (assumed)",
        device="cuda",
        rates={2: EFFICIENCY * one.bf16 * TERA, 4: EFFICIENCY * one.fp32 * TERA},
        read=EFFICIENCY * one.bandwidth * 1e9,
        moved=EFFICIENCY * one.bandwidth * 1e9,
        dispatch=GPU_DISPATCH,
        start=GPU_START,
        memory=one.memory * GIB,
        gpus=gpus,
    )


def this_gpu(gpus: int) -> Hardware:
    """So many GPUs as torch sees here, with the memory that they have: cards of one name come with
    different ones. Raises RosdError where there is none, or one whose rates are not known.
    """
    if not torch.cuda.is_available():
        raise RosdError(
            "there is no GPU here (machine.device or --gpus asks for one): name one with --card, "
            f"such as {', '.join(CARDS)}."
        )
    name = torch.cuda.get_device_name(0)
    for key in CARDS:
        if key.lower() in name.lower().split() or key.lower() in name.lower():
            memory = torch.cuda.get_device_properties(0).total_memory
            return replace(card(key, gpus), memory=float(memory))
    raise RosdError(f"{name}: its rates are not known here; name a similar one with --card.")
