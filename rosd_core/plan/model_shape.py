"""The sizes of a model from its config.json alone; no weights are read.

The model is built on the `meta` device, without memory for its tensors, so that the numbers are
those of transformers for every architecture.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig

from rosd_core.errors import RosdError

# what the configs on the hub say (Qwen/Qwen3-4B and Qwen/Qwen3-8B: config.json, 2025)
_QWEN3 = {
    "model_type": "qwen3", "num_hidden_layers": 36, "num_attention_heads": 32,
    "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 151936,
    "max_position_embeddings": 40960,
}  # fmt: skip
PUBLISHED: dict[str, dict[str, Any]] = {
    "Qwen/Qwen3-4B": _QWEN3
    | {"hidden_size": 2560, "intermediate_size": 9728, "tie_word_embeddings": True},
    "Qwen/Qwen3-8B": _QWEN3
    | {"hidden_size": 4096, "intermediate_size": 12288, "tie_word_embeddings": False},
}


@dataclass(frozen=True)
class ModelShape:
    """Sizes of a decoder. `parameters`: all, each once; `body`: those that a token is multiplied
    with in the layers; `query_width`, `cache_width`: heads x head width of queries, and of keys (as
    many values) in a layer.
    """

    parameters: int
    body: int
    layers: int
    hidden: int
    intermediate: int
    query_width: int
    cache_width: int
    vocabulary: int
    tied: bool

    @property
    def head(self) -> int:
        """Parameters of the language head, which may be those of the embedding."""
        return self.hidden * self.vocabulary

    def cache_bytes(self, width: int) -> int:
        """Bytes of a slot of the cache: keys and values of one token, of `width` bytes a number."""
        return 2 * self.layers * self.cache_width * width

    def forward(self, tokens: float, context: float) -> float:
        """Operations (a product and a sum are two) of the layers over tokens that each attend to
        `context` others on average:

            tokens x (2 body + 4 layers x query width x context)
        """
        return tokens * (2 * self.body + 4 * self.layers * self.query_width * context)

    def logits(self, tokens: float) -> float:
        """Operations of the language head."""
        return 2.0 * self.head * tokens


def shape_of(config: PreTrainedConfig, name: str) -> ModelShape:
    """The sizes of the model of a config; `name` is that in errors.

    Raises RosdError where transformers cannot build it as a language model.
    """
    try:
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    except Exception as error:  # whatever a config that does not fit together leads to
        told = str(error).splitlines()[0] if str(error) else ""
        raise RosdError(
            f"{name}: no language model can be built from it ({type(error).__name__}: {told[:200]})"
        ) from None
    text = config.get_text_config()
    outer = {id(p) for p in (model.get_input_embeddings().weight, _head(model)) if p is not None}
    matrices = (p for p in model.parameters() if p.ndim > 1 and id(p) not in outer)
    heads = text.num_attention_heads
    width = getattr(text, "head_dim", None) or text.hidden_size // heads
    return ModelShape(
        parameters=sum(p.numel() for p in model.parameters()),
        body=round(sum(p.numel() * _active(p, text) for p in matrices)),
        layers=text.num_hidden_layers,
        hidden=text.hidden_size,
        intermediate=text.intermediate_size,
        query_width=heads * width,
        cache_width=(getattr(text, "num_key_value_heads", None) or heads) * width,
        vocabulary=text.vocab_size,
        tied=bool(_head(model) is model.get_input_embeddings().weight),
    )


def _head(model: Any) -> torch.Tensor | None:
    layer = model.get_output_embeddings()
    return None if layer is None else layer.weight


def _active(parameter: torch.Tensor, config: Any) -> float:
    """The share of a matrix that a token meets: of the experts of a layer, which transformers keeps
    in one tensor of three dimensions, as many as the router chooses.
    """
    experts = getattr(config, "num_experts", None) or getattr(config, "num_local_experts", None)
    if parameter.ndim < 3 or not experts:
        return 1.0
    return config.num_experts_per_tok / experts


def read_config(place: str) -> PreTrainedConfig:
    """The config in a folder or a file, of a published model that is known here, or of a hub id in
    the local cache; nothing is fetched. Raises RosdError where there is none.
    """
    if Path(place).exists():
        file = Path(place) / "config.json" if Path(place).is_dir() else Path(place)
        return _config(_read_json(file), str(file))
    if place in PUBLISHED:
        return _config(PUBLISHED[place], place)
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        cached = try_to_load_from_cache(place, "config.json")
    except HFValidationError:
        cached = None
    if isinstance(cached, str):
        return _config(_read_json(Path(cached)), place)
    raise RosdError(
        f"{place}: no config.json there, and none of a hub model of this name in the local cache. "
        f"Name a file: --config FILE, or one of {', '.join(PUBLISHED)}."
    )


def _read_json(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RosdError(f"{file}: no such file. Name the model's config: --config FILE.") from None
    except ValueError as error:
        raise RosdError(f"{file}: not JSON: {error}.") from None


def _config(values: Any, name: str) -> PreTrainedConfig:
    if not isinstance(values, Mapping) or "model_type" not in values:
        raise RosdError(f"{name}: no config of a model of transformers (it has no model_type).")
    sizes = {key: value for key, value in values.items() if key != "model_type"}
    try:
        return AutoConfig.for_model(values["model_type"], **sizes)
    except Exception as error:  # an unknown architecture, or values of other types
        told = str(error).splitlines()[0] if str(error) else ""
        raise RosdError(
            f"{name}: transformers cannot read this config ({type(error).__name__}: {told[:200]})"
        ) from None
