"""What `rosd init` measures: the model's size, the machine's memory, the lengths of the data."""

import math
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rosd_core.models.loading import context_length, load_config
from rosd_core.prompts.fit import PromptBuilder

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class ModelFacts:
    """Sizes from a model's config.json and its weights."""

    parameters: int
    layers: int
    hidden: int
    intermediate: int
    kv_width: int  # heads x head width of keys, per layer
    context: int

    @property
    def cache_bytes(self) -> int:
        """Bytes of fp32 keys and values per token."""
        return 2 * self.layers * self.kv_width * 4

    @property
    def training_bytes(self) -> int:
        """Bytes of fp32 weights, gradients and the two moments of AdamW."""
        return 16 * self.parameters

    @property
    def activation_bytes(self) -> int:
        """Bytes of fp32 activations that a backward pass keeps per token, roughly: in each layer
        about 12 tensors of the hidden width and 4 of the intermediate one.
        """
        return 4 * self.layers * (12 * self.hidden + 4 * self.intermediate)


def model_facts(folder: Path) -> ModelFacts:
    """The facts of a model's folder. Only headers are read, no weights."""
    from safetensors import safe_open

    config = load_config(folder).get_text_config()
    heads = config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // heads
    parameters = 0
    for file in folder.glob("model*.safetensors"):
        with safe_open(file, "pt") as tensors:
            shapes = (tensors.get_slice(name).get_shape() for name in tensors.keys())  # noqa: SIM118
            parameters += sum(math.prod(shape) for shape in shapes)
    return ModelFacts(
        parameters=parameters,
        layers=config.num_hidden_layers,
        hidden=config.hidden_size,
        intermediate=config.intermediate_size,
        kv_width=(getattr(config, "num_key_value_heads", None) or heads) * width,
        context=context_length(config),
    )


def memory_bytes(device: str) -> int:
    """Free bytes of the machine, or of its GPU."""
    if device == "cuda":
        import torch

        return torch.cuda.mem_get_info()[0]
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")


def speed(device: str, threads: int, hidden: int, intermediate: int) -> float:
    """Floating-point operations a second of a matrix product as in the model's layers, in fp32; 0.6
    of it, since a model is not all products. The best of a few tries.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    left = torch.randn(512, hidden, device=device)
    right = torch.randn(hidden, intermediate, device=device)
    times = []
    for _ in range(8):
        started = time.perf_counter()
        float((left @ right).sum())  # waits for the GPU
        times.append(time.perf_counter() - started)
    torch.set_num_threads(before)
    return 0.6 * 2 * 512 * hidden * intermediate / min(times)


@dataclass(frozen=True)
class Lengths:
    """Tokens: of the prompts (all rows), of the worked solutions (None without any), and of the
    templates with all their fields empty.
    """

    prompts: Sequence[int]
    solutions: Sequence[int] | None
    reflection: int
    idea: int


def measure(
    rows: Sequence[Mapping[str, Any]],
    builder: PromptBuilder,
    tokenizer: "PreTrainedTokenizerBase",
) -> Lengths:
    """Lengths of the rows of a problems table; `builder` has no limit."""
    prompts = builder.prompts

    def count(text: str) -> int:
        return len(tokenizer(text, add_special_tokens=False)["input_ids"])

    asked = [
        len(builder.build(prompts.plain, "row", row["system"], problem=row["prompt"]).ids)
        for row in rows
    ]
    worked = [count(row["solution"]) for row in rows if row["solution"] is not None]
    system = max((row["system"] or "" for row in rows), key=len) or None
    empty = {"problem": "", "gold": "", "correct": "", "wrong": ""}
    return Lengths(
        prompts=asked,
        solutions=worked or None,
        reflection=len(builder.build(prompts.reflect_wrong, "row", system, **empty).ids)
        + max(count(row["answer"]) for row in rows),
        idea=len(builder.build(prompts.with_idea, "row", system, problem="", idea="").ids)
        - len(builder.build(prompts.plain, "row", system, problem="").ids),
    )


def share_at_most(values: Sequence[int], share: float) -> int:
    """The smallest value that at least this share of the values does not exceed."""
    return sorted(values)[math.ceil(share * len(values)) - 1]
