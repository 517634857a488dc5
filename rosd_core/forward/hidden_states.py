"""Reading given responses: hidden states at supervised tokens, of one model or of a mix of models.

A mix is geometric, as SDPO's trust-region teacher (arXiv 2601.20802): its logits are a weighted
sum,

    z = sum_i c_i h_i W_i^T = [h_1 | h_2] [c_1 W_1 | c_2 W_2]^T

so that it is one head on joined hidden states, for whatever stores or uses them.

Dimension names: N supervised token, H hidden (joined), V vocabulary.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel

from rosd_core.forward.packing import PackRow, batches, supervised_hidden
from rosd_core.losses.head import Head, head_of
from rosd_core.models.loading import context_length


@dataclass(frozen=True)
class Part:
    """A model of a mix, its share, and what to open around its forward pass (an adapter's off
    switch)."""

    model: PreTrainedModel
    share: float = 1.0
    within: Callable[[], AbstractContextManager[object]] = nullcontext


@dataclass(frozen=True)
class Reader:
    """Reads packs of at most `batch_tokens` tokens."""

    parts: tuple[Part, ...]
    pad_id: int
    batch_tokens: int

    @property
    def context(self) -> int:
        """The longest sequence that every part can read."""
        return min(context_length(part.model.config) for part in self.parts)

    def head(self) -> Head:
        """The head of the joined hidden states."""
        heads = [head_of(part.model) for part in self.parts]
        if len(heads) == 1 and self.parts[0].share == 1:
            return heads[0]
        joined = [p.share * h.weight_VH.detach() for p, h in zip(self.parts, heads, strict=True)]
        biases = [
            p.share * h.bias_V.detach()
            for p, h in zip(self.parts, heads, strict=True)
            if h.bias_V is not None
        ]
        return Head(torch.cat(joined, 1), sum(biases[1:], biases[0]) if biases else None)

    @torch.no_grad()
    def hidden(self, rows: Sequence[PackRow]) -> torch.Tensor:
        """Final hidden states that predict the supervised tokens, row by row, (N, H)."""
        read = []
        for part in self.parts:
            training = part.model.training
            with part.within():
                part.model.eval()
                read.append(supervised_hidden(part.model, rows, self.pad_id))
                part.model.train(training)
        return read[0] if len(read) == 1 else torch.cat(read, 1)

    @torch.no_grad()
    def hidden_of_rows(self, rows: Sequence[PackRow]) -> list[torch.Tensor]:
        """The same per row, in the order of the rows, pack by pack."""
        done: dict[int, torch.Tensor] = {}
        for chosen in batches(rows, self.batch_tokens):
            hidden_NH = self.hidden([rows[i] for i in chosen])
            parts = hidden_NH.split([len(rows[i][2]) for i in chosen])
            done |= dict(zip(chosen, parts, strict=True))
        return [done[i] for i in range(len(rows))]
