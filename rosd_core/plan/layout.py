"""How the weights that are trained lie in the memory of the processes that train them."""

from dataclasses import dataclass

from rosd_core.config.training import Distill
from rosd_core.plan.model_shape import ModelShape

STATE_BYTES = {"adamw": 8.0, "adamw_8bit": 2.0, "adafactor": 0.02}  # of a trained parameter
NF4_BYTES = 0.5 + (1 + 4 / 256) / 64  # of a weight: 4 bits, and the scales of its block


@dataclass(frozen=True)
class Training:
    """`trained` parameters with `state` bytes of optimizer state each; weights, gradients and state
    are divided over `shards` processes; offloaded, they lie in the machine's memory instead.
    `quantized`: the weights of linear layers, which are frozen then, are in 4 bits.
    """

    trained: float
    state: float
    shards: int
    offload: bool
    quantized: bool


def training_of(distill: Distill, shape: ModelShape, processes: int) -> Training:
    """What params: distill say; the one place that knows its keys for this."""
    sharding = getattr(distill, "sharding", "none")
    return Training(
        trained=shape.parameters if distill.lora is None else adapter(shape, distill.lora.rank),
        state=STATE_BYTES[getattr(distill, "optimizer", "adamw")],
        shards=processes if sharding == "fsdp" else 1,
        offload=bool(getattr(distill, "offload", False)),
        quantized=distill.quantized,
    )


def weight_bytes(shape: ModelShape, training: Training) -> float:
    """Bytes of all weights, in fp32 but for those in 4 bits."""
    body = NF4_BYTES if training.quantized else 4.0
    return body * shape.body + 4.0 * (shape.parameters - shape.body)


def adapter(shape: ModelShape, rank: int) -> float:
    """Parameters of a LoRA adapter on all linear layers: rank x (inputs + outputs) of each."""
    h, q, k, i = shape.hidden, shape.query_width, shape.cache_width, shape.intermediate
    return rank * shape.layers * ((h + q) + 2 * (h + k) + (q + h) + 3 * (h + i))
