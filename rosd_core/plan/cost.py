"""What work costs: operations, bytes and calls of a piece of work, and the seconds that they take.

    seconds = operations / rate + read / bandwidth + moved / element-wise bandwidth
              + calls x dispatch + host

on a CPU, where these happen one after the other; on a GPU the calls are queued beside the rest.
The factors below were fitted to the default engine on a CPU; `python benchmarks/plan.py` compares
them with measured stages.
"""

from dataclasses import dataclass, fields

from rosd_core.plan.hardware import Hardware
from rosd_core.plan.model_shape import ModelShape

CALLS = 170  # of a decoder layer in one pass, in units of one small operation of torch
BACKWARD_CALLS = 3  # times those of a forward pass
TRAINED_PASSES = 5  # element-wise bytes of forward and backward, in units of a forward pass
VOCABULARY_PASSES = 6  # over the logits of a sampled token, by which memory is moved
COMPARED_PASSES = 18  # over those of a scored one: two models, top-k, entropy
TRAINED_VOCABULARY_PASSES = 5
ADAMW_PASSES = 7  # over every trained parameter in a step
OPENED = 2.5e-9  # seconds a byte: to hash, read and check weights
SAVED = 1.5e-9  # seconds a byte
TOKEN, ROW, SCORED = (
    3e-6,
    2e-4,
    5e-5,
)  # seconds of Python for a sampled token, a row, a scored token
GRAMMAR = 6e-5  # seconds for a token under a grammar


@dataclass(frozen=True)
class Cost:
    """Operations of matrix products; bytes read once in them (weights in each pass, the cache in
    each step); bytes of element-wise work; calls; seconds of Python and files.
    """

    flops: float = 0.0
    read: float = 0.0
    moved: float = 0.0
    calls: float = 0.0
    host: float = 0.0

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    def times(self, factor: float) -> "Cost":
        return Cost(*(getattr(self, f.name) * factor for f in fields(self)))

    def seconds(self, hardware: Hardware, width: int) -> float:
        """Seconds on one process of the hardware; `width`: bytes a number of matrix products."""
        work = self.flops / hardware.rates[width] + self.read / hardware.read
        work += self.moved / hardware.moved
        queued = self.calls * hardware.dispatch
        return (work + queued if hardware.device == "cpu" else max(work, queued)) + self.host


def moved(shape: ModelShape, tokens: float) -> float:
    """Bytes that the element-wise work of a forward pass moves: norms, rotation, activation."""
    width = 10 * shape.hidden + 9 * shape.query_width + 10 * shape.cache_width
    return 4.0 * shape.layers * (width + 3 * shape.intermediate) * tokens


def forward(
    shape: ModelShape, tokens: float, context: float, passes: float, width: int = 4
) -> Cost:
    """Forward passes over so many tokens in all, without the language head."""
    return Cost(
        flops=shape.forward(tokens, context),
        read=passes * shape.body * width,
        moved=moved(shape, tokens),
        calls=passes * shape.layers * CALLS,
    )


def training(
    shape: ModelShape, tokens: float, context: float, passes: float, recomputed: bool, whole: bool
) -> Cost:
    """Forward and backward passes: three times the operations of a forward pass, four where it is
    computed again (gradient checkpointing), one less where only an adapter is trained.
    """
    one = forward(shape, tokens, context, passes)
    times = 2 + whole + recomputed
    return Cost(
        flops=times * one.flops,
        read=times * one.read,
        moved=(TRAINED_PASSES + recomputed) * one.moved,
        calls=BACKWARD_CALLS * one.calls,
    )
