"""The most memory that a stage takes in one process: on the GPU, or on a CPU all of it."""

from dataclasses import dataclass

from rosd_core.config.params import Params
from rosd_core.losses.head import CHUNK_ENTRIES, READ_ROWS, TRAINED_ROWS
from rosd_core.plan.case import Case
from rosd_core.plan.hardware import GIB, Hardware
from rosd_core.plan.layout import Training, weight_bytes
from rosd_core.plan.model_shape import ModelShape
from rosd_core.plan.work import PACK_TOKENS, Draw, draws, prompts_of_step, supervised
from rosd_core.plan.workload import Workload
from rosd_core.sampling.decoder import COPIED_BYTES

LIBRARIES = 0.5 * GIB  # a process that has imported torch and transformers; a CUDA context
TEXT_ONLY = 0.2 * GIB  # one that has not
DECODED, COMPARED = 4, 8  # buffers of logits that are alive together
TRAINED = {"cpu": 1, "cuda": 4}  # a CPU computes losses in small blocks
HALF_SAVED = 0.65  # of saved activations, in autocast: products keep bf16, norms fp32


@dataclass(frozen=True)
class Memory:
    """Bytes by what they are for, and the key of params that lowers the largest part."""

    parts: dict[str, float]
    lower: str

    @property
    def total(self) -> float:
        return sum(self.parts.values())


def saved_bytes(shape: ModelShape) -> float:
    """Bytes of fp32 that a layer keeps of a token for its backward pass, as in a packed pass: 7
    tensors of the hidden width, 8 of the queries', 5 of the keys', 4 of the inner width.
    """
    width = 7 * shape.hidden + 8 * shape.query_width + 5 * shape.cache_width
    return 4.0 * (width + 4 * shape.intermediate)


def passing_bytes(shape: ModelShape) -> float:
    """Bytes of fp32 that are alive of a token at once in a forward pass without a backward one."""
    width = 3 * shape.hidden + 3 * (shape.query_width + 2 * shape.cache_width)
    return 4.0 * (width + 3 * shape.intermediate)


def chunk_bytes(shape: ModelShape, least: int, buffers: int) -> float:
    """Bytes of the logits of a chunk of supervised tokens, `least` of them or more, see
    losses/head.py.
    """
    rows = max(least, CHUNK_ENTRIES // shape.vocabulary)
    return 4.0 * buffers * rows * shape.vocabulary


def stage_memory(case: Case, first: bool) -> dict[str, Memory]:
    """Of every stage; `first`: the iteration starts from the base model."""
    found = {}
    for stage, draw in draws(case.params, case.load).items():
        found[stage] = _sampling(case, stage, draw)
    if not case.load.reflected.value:
        found["reflect"] = Memory({"libraries": TEXT_ONLY}, "")
    found["align"] = Memory({"libraries": TEXT_ONLY}, "")
    found["score"] = _score(case, first)
    found["distill"] = _distill(case)
    return found


def _sampling(case: Case, stage: str, draw: Draw) -> Memory:
    """Weights, the cache of a batch, and what a step or the reading of prompts needs beside it."""
    shape, settings = case.shape, draw.settings
    if settings.engine == "server":
        return Memory({"libraries": LIBRARIES}, "")
    if settings.engine == "vllm":
        return _vllm(case, draw)
    slots = draw.batch * (draw.prompt.longest + settings.max_new_tokens)
    grouped = 2 * shape.query_width if shape.query_width > shape.cache_width else 0
    step = slots * grouped * 4 + DECODED * 4 * draw.batch * shape.vocabulary
    reading = min(PACK_TOKENS, draw.unique * draw.prompt.value) * passing_bytes(shape)
    parts = {
        "libraries": LIBRARIES,
        "weights": 4.0 * shape.parameters,
        "cache": slots * shape.cache_bytes(4),
        "a step": max(step, reading),
    }
    half = settings.autocast == "bfloat16"
    if case.hardware.device == "cuda" and half:
        parts["bf16 copies of weights"] = _copies(shape, settings.autocast)
    elif case.hardware.device == "cpu" and (half or parts["weights"] <= COPIED_BYTES):
        width = 2.0 if half else 4.0
        copies = width * (shape.parameters - shape.head) + 4.0 * shape.head
        parts["weights, as the decoder has them"] = copies
    return Memory(parts, f"{stage}.batch_tokens")


def _vllm(case: Case, draw: Draw) -> Memory:
    """vLLM takes the share of the memory that it is given; the longest row has to fit into it."""
    shape, v, hardware = case.shape, case.params.engine.vllm, case.hardware
    width, parts = (4 if v.dtype == "float32" else 2), v.tensor_parallel * v.pipeline_parallel
    weights = width * shape.parameters / parts
    row = draw.prompt.longest + draw.settings.max_new_tokens
    least = row * shape.cache_bytes(width) / parts
    given = v.gpu_memory * hardware.memory
    if hardware.device == "cpu":
        given = weights + max(least, v.cpu_cache_gib * GIB)
    cache = max(least, given - weights - LIBRARIES)
    sizes = {"libraries": LIBRARIES, "weights": weights, "cache": cache}
    return Memory(sizes, "engine.vllm.tensor_parallel (raise it)")


def _score(case: Case, first: bool) -> Memory:
    """Student and teacher, one batch, and the logits of a chunk."""
    shape, params, load = case.shape, case.params, case.load
    p = params.score
    if p.targets == "none" or params.align.teacher_context == "none":
        return Memory({"libraries": LIBRARIES}, "")
    models = 1 if p.teacher == "current" or (first and isinstance(p.teacher, str)) else 2
    rows, _ = supervised(load)
    batch = min(p.batch_tokens, rows * (load.teacher.value + load.response.value))
    batch = max(batch, load.teacher.longest + params.rollout.max_new_tokens)
    width = 0.75 if p.autocast == "bfloat16" else 1.0
    parts = {
        "libraries": LIBRARIES,
        "weights": 4.0 * shape.parameters * models,
        "bf16 copies of weights": models * _copies(shape, p.autocast),
        "activations": width * batch * passing_bytes(shape),
        "logits": chunk_bytes(shape, READ_ROWS[case.hardware.device], COMPARED),
    }
    return Memory(parts, "score.batch_tokens")


def _copies(shape: ModelShape, autocast: str, quantized: bool = False) -> float:
    """Autocast keeps a bf16 copy of every weight of a product until its context ends; those in 4
    bits are computed back for each product.
    """
    body = shape.body / shape.layers if quantized else shape.body
    return 2.0 * (body + shape.head) if autocast == "bfloat16" else 0.0


def _distill(case: Case) -> Memory:
    """The larger of two moments: the end of a forward pass, when all activations are there, and the
    optimizer's step, which on a GPU has temporary copies of what it moves.
    """
    shape, params, training, hardware = case.shape, case.params, case.training, case.hardware
    p = params.distill
    half = HALF_SAVED if p.autocast == "bfloat16" else 1.0
    layer = half * saved_bytes(shape)
    saved = shape.layers * layer
    if p.gradient_checkpointing:  # the inputs of all layers, and one layer that is computed again
        saved = 4.0 * shape.layers * shape.hidden + layer
    batch = batch_tokens(params, case.load)
    forward = {
        "bf16 copies of weights": _copies(shape, p.autocast, training.quantized) / training.shards,
        "activations": batch * saved,
        "logits": chunk_bytes(shape, TRAINED_ROWS[hardware.device], TRAINED[hardware.device]),
        "gradient of the head": 4.0 * shape.head if p.lora is None else 0.0,
        "gathered weights": gathered(shape, training),
    }
    largest = 2 * 4.0 * max(shape.head, shape.body / shape.layers)
    copied = 0.0 if training.offload else 4.0 * training.trained / training.shards
    step = {"temporary, in a step": copied if hardware.device == "cuda" else largest}
    moment = max((forward, step), key=lambda parts: sum(parts.values()))
    parts = {"libraries": LIBRARIES, **weights_of(shape, training, hardware), **moment}
    if params.score.targets == "none" and params.align.teacher_context != "none":
        parts["weights of the teacher"] = 4.0 * shape.parameters
        parts["their bf16 copies"] = _copies(shape, p.autocast)
    return Memory(parts, "distill.batch_tokens")


def weights_of(shape: ModelShape, training: Training, hardware: Hardware) -> dict[str, float]:
    """Weights, gradients and state, each process' share."""
    n = training.shards
    if training.offload and hardware.device == "cuda":  # all of it lies in the machine's memory
        return dict.fromkeys(("weights", "gradients", "optimizer"), 0.0)
    return {
        "weights": weight_bytes(shape, training) / n,
        "gradients": 4.0 * training.trained / n,
        "optimizer": training.state * training.trained / n,
    }


def gathered(shape: ModelShape, training: Training) -> float:
    """Bytes of sharded weights that a process holds whole in a pass: two layers and the head."""
    whole = 2 * shape.body / shape.layers + shape.head
    return 4.0 * whole if training.shards > 1 or training.offload else 0.0


def batch_tokens(params: Params, load: Workload) -> float:
    """Tokens of a forward and backward pass: those of a step, at most batch_tokens, at least the
    longest row.
    """
    rows, _ = supervised(load)
    n = min(rows, params.distill.rows_per_step)
    step = prompts_of_step(params, load) * load.prompt.value + n * load.response.value
    longest = load.prompt.longest + params.rollout.max_new_tokens
    return max(min(step, params.distill.batch_tokens), min(longest, step))
