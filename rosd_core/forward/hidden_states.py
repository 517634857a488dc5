"""Final hidden states at supervised tokens, of one model or of a mix of models.

A mix is geometric, as SDPO's trust-region teacher (arXiv 2601.20802): its logits are a weighted sum
of the models' logits. On joined hidden states that is one head (`mixed_head`), so whatever stores
hidden states or uses them need not know of the mix.

Dimension names: N supervised token, H hidden (joined).
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel

from rosd_core.forward.packing import PackRow, supervised_hidden
from rosd_core.losses.head import Head, head_of, mixed_head
from rosd_core.models.loading import context_length


@dataclass(frozen=True)
class MixPart:
    """A model of a mix, its share of the logits, and a context manager that its forward pass needs
    (such as peft's disable_adapter).
    """

    model: PreTrainedModel
    share: float = 1.0
    within: Callable[[], AbstractContextManager[object]] = nullcontext


@dataclass(frozen=True)
class ModelMix:
    """One or several models that are read together; their weights do not change."""

    parts: tuple[MixPart, ...]
    pad_id: int

    @property
    def context_length(self) -> int:
        """The longest sequence that every model can read."""
        return min(context_length(part.model.config) for part in self.parts)

    def head(self) -> Head:
        """The head of the joined hidden states."""
        heads = [head_of(part.model) for part in self.parts]
        return mixed_head(heads, [part.share for part in self.parts])

    @torch.no_grad()
    def hidden(self, rows: Sequence[PackRow]) -> torch.Tensor:
        """Final hidden states that predict the supervised tokens, row by row, (N, H)."""
        hidden = []
        for part in self.parts:
            training = part.model.training
            with part.within():
                part.model.eval()
                hidden.append(supervised_hidden(part.model, rows, self.pad_id))
                part.model.train(training)
        return hidden[0] if len(hidden) == 1 else torch.cat(hidden, 1)
