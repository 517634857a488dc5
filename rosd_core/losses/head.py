"""The language head: final hidden states to logits.

Dimension names: N supervised token, H hidden, V vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedModel

from rosd_core.errors import RosdError


@dataclass(frozen=True)
class Head:
    """A language head: logits = h W^T + b."""

    matrix_VH: torch.Tensor
    bias_V: torch.Tensor | None = None

    def logits(self, hidden_NH: torch.Tensor) -> torch.Tensor:
        """(N, V) in fp32."""
        logits_NV = torch.mm(hidden_NH, self.matrix_VH.t()).float()
        return logits_NV if self.bias_V is None else logits_NV.add_(self.bias_V.float())

    def cast(self, dtype: torch.dtype) -> "Head":
        """The head with its matrix in another dtype."""
        return Head(self.matrix_VH.to(dtype), self.bias_V)


def head_of(model: PreTrainedModel) -> Head:
    """The model's head. Raises RosdError where logits are not linear in the hidden state."""
    layer: Any = model.get_output_embeddings()
    for name in ("final_logit_softcapping", "logits_scaling", "logit_scale"):
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
