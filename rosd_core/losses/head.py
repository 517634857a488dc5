"""The language head: final hidden states to logits, chunk by chunk.

Dimension names: N supervised token, H hidden, V vocabulary.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import PreTrainedModel

from rosd_core.errors import RosdError

CHUNK_ENTRIES = 1 << 22  # logits of a chunk: 16 MiB in fp32, about the size of a CPU's cache
# but of at least so many tokens: W is read once per chunk, and three times where it is trained
READ_ROWS = {"cpu": 64, "cuda": 1024}
TRAINED_ROWS = {"cpu": 256, "cuda": 1024}

# settings of models whose logits are not linear in the hidden state, unless they are absent or 1
SCALED_LOGITS = ("final_logit_softcapping", "logits_scaling", "logit_scale")


@dataclass(frozen=True)
class Head:
    """A language head: logits = h W^T + b."""

    matrix_VH: torch.Tensor
    bias_V: torch.Tensor | None = None
    _copies: dict[torch.dtype, torch.Tensor] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def logits(
        self, hidden_NH: torch.Tensor, buffer_NV: torch.Tensor | None = None
    ) -> torch.Tensor:
        """(N, V) in fp32; in the first rows of the buffer, where it is given."""
        if buffer_NV is None:
            logits_NV = self._product(hidden_NH)
        elif hidden_NH.dtype == buffer_NV.dtype:
            logits_NV = torch.mm(hidden_NH, self.matrix_VH.t(), out=buffer_NV[: len(hidden_NH)])
        else:
            logits_NV = buffer_NV[: len(hidden_NH)].copy_(self._product(hidden_NH))
        return logits_NV if self.bias_V is None else logits_NV.add_(self.bias_V.float())

    def _product(self, hidden_NH: torch.Tensor) -> torch.Tensor:
        """h W^T in fp32. A GPU sums products of half precision in fp32 and need not round the sums,
        which in bf16 moves a logit above 16 by up to 1/16.
        """
        kind = hidden_NH.device.type
        autocast = torch.is_autocast_enabled(kind)
        dtype = torch.get_autocast_dtype(kind) if autocast else hidden_NH.dtype
        if kind != "cuda" or dtype == torch.float32 or torch.is_grad_enabled():
            return torch.mm(hidden_NH, self.matrix_VH.t()).float()
        if dtype not in self._copies:
            self._copies[dtype] = self.matrix_VH.detach().to(dtype)
        return torch.mm(hidden_NH.to(dtype), self._copies[dtype].t(), out_dtype=torch.float32)

    def cast(self, dtype: torch.dtype) -> "Head":
        """The head with its matrix in another dtype."""
        return Head(self.matrix_VH.to(dtype), self.bias_V)


def head_of(model: PreTrainedModel) -> Head:
    """The model's head. Raises RosdError where logits are not linear in the hidden state."""
    layer: Any = model.get_output_embeddings()
    for name in SCALED_LOGITS:
        if getattr(model.config, name, None) not in (None, 1, 1.0):
            raise RosdError(f"{model.config.model_type}: its logits have a {name}; not supported.")
    if hasattr(layer, "base_layer"):
        raise RosdError("the head has an adapter; leave it out of distill.lora.modules.")
    if type(layer) is not torch.nn.Linear:
        raise RosdError(
            f"{model.config.model_type}: its head is {type(layer).__name__}, not Linear."
        )
    return Head(layer.weight, layer.bias)


def mixed_head(heads: Sequence[Head], shares: Sequence[float]) -> Head:
    """The head of several models' joined hidden states, whose logits are a weighted sum:

        z = sum_i c_i h_i W_i^T = [h_1 | h_2] [c_1 W_1 | c_2 W_2]^T

    One head with share 1 is itself.
    """
    if len(heads) == 1 and shares[0] == 1:
        return heads[0]
    pairs = list(zip(heads, shares, strict=True))
    matrix_VH = torch.cat([share * head.matrix_VH.detach() for head, share in pairs], 1)
    biases = [share * head.bias_V.detach() for head, share in pairs if head.bias_V is not None]
    return Head(matrix_VH, sum(biases[1:], biases[0]) if biases else None)


def chunk_size(vocabulary: int, least: int) -> int:
    """The tokens of a chunk, so that its logits stay near CHUNK_ENTRIES; at least `least`."""
    return max(least, CHUNK_ENTRIES // vocabulary)


def slices(tokens: int, size: int) -> Iterator[slice]:
    """Slices of at most `size` tokens."""
    return (slice(start, min(start + size, tokens)) for start in range(0, tokens, size))


def chunks(hidden_NH: torch.Tensor, vocabulary: int) -> Iterator[slice]:
    """Slices of N so that a chunk's logits stay near CHUNK_ENTRIES."""
    least = READ_ROWS.get(hidden_NH.device.type, 1024)
    return slices(len(hidden_NH), chunk_size(vocabulary, least))
