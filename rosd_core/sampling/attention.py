"""Attention of the decoder (decoder.py): of the new tokens of a batch over its cache, and of packs.
Nothing is repeated for heads that share keys and values: they are queries of one head.

A cache with the prompts once for all rows that have them is read in two parts, the prompt by all
its rows together and then each row's own tokens. Each part gives its output o and the logarithm of
the sum of its weights l:

    o = o_1 + sigmoid(l_2 - l_1) (o_2 - o_1)

Dimension names: B row, U distinct prompt, G row of a prompt, T slot of the cache, N token of a
pack, A attention head, K key-value head, g heads that share keys and values, D head width.
"""

from collections.abc import Sequence

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers.cache_utils import Cache

from rosd_core.forward.attention import FLASH, Segment
from rosd_core.sampling.cache import StaticLayer

States = tuple[torch.Tensor, torch.Tensor, torch.Tensor]  # queries, keys, values


class SharedCache(Cache):
    """The keys and values of distinct prompts, and, as its layers, those of each row's own tokens;
    `prompt_B` is the number of each row's prompt.
    """

    def __init__(
        self,
        prompts: Sequence[StaticLayer],
        mask_UT: torch.Tensor,
        prompt_B: torch.Tensor,
        own: int,
    ) -> None:
        super().__init__(layers=[StaticLayer(own) for _ in prompts])
        self.prompts, self.mask_UT = list(prompts), mask_UT
        self._set_rows(prompt_B)

    def _set_rows(self, prompt_B: torch.Tensor) -> None:
        """Lay out the rows by prompt, (U, G), with row 0 where a prompt has fewer; `places_B` is
        where each row is in it.
        """
        self.prompt_B, counts = prompt_B, [0] * len(self.mask_UT)
        places = []
        for u in prompt_B.tolist():
            places.append((u, counts[u]))
            counts[u] += 1
        most = max(counts)
        self.places_B = torch.tensor([u * most + place for u, place in places])
        self.rows_UG = torch.zeros(len(counts), most, dtype=torch.long)
        self.rows_UG.view(-1)[self.places_B] = torch.arange(len(places))
        self.bias_U11T = slots_bias(self.mask_UT)

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keep some rows, and the prompts that they have."""
        super().batch_select_indices(indices)
        used, prompt_B = self.prompt_B[indices].unique(return_inverse=True)
        if len(used) < len(self.mask_UT):
            self.mask_UT = self.mask_UT[used]
            for layer in self.prompts:
                layer.batch_select_indices(used)
        self._set_rows(prompt_B)


def slots_bias(mask_BT: torch.Tensor) -> torch.Tensor | None:
    """What is added to the scores of slots, (B, 1, 1, T); None where all of them hold tokens."""
    if bool(mask_BT.all()):
        return None
    empty_B11T = mask_BT[:, None, None] == 0
    return torch.zeros(empty_B11T.shape).masked_fill_(empty_B11T, -torch.inf)


def attend_slots(
    cache: Cache, bias_B11T: torch.Tensor | None, number: int, scaling: float, states: States
) -> torch.Tensor:
    """Attention of one new token per row over its slots, (B, A x D); `cache` receives the token.
    States: (B, A, D) and twice (B, K, D).
    """
    query_BAD, key_BKD, value_BKD = states
    seen = cache.update(key_BKD.unsqueeze(2), value_BKD.unsqueeze(2), number)
    query_BKgD = query_BAD.unflatten(1, (key_BKD.shape[1], -1))
    out_BKgD = scaled_dot_product_attention(query_BKgD, *seen, attn_mask=bias_B11T, scale=scaling)
    return out_BKgD.flatten(1)


def attend_shared(cache: SharedCache, number: int, scaling: float, states: States) -> torch.Tensor:
    """The same over a shared cache."""
    query_BAD, key_BKD, value_BKD = states
    own = cache.update(key_BKD.unsqueeze(2), value_BKD.unsqueeze(2), number)
    query_BKgD = query_BAD.unflatten(1, (key_BKD.shape[1], -1))
    query_UKGgD = query_BKgD[cache.rows_UG].transpose(1, 2)
    sizes, prompt = query_UKGgD.shape[2:4], cache.prompts[number]
    out_1, sum_1 = FLASH(
        query_UKGgD.flatten(2, 3), prompt.keys, prompt.values, attn_mask=cache.bias_U11T,
        scale=scaling,
    )  # fmt: skip
    out_1 = out_1.unflatten(2, sizes).transpose(1, 2).flatten(0, 1)[cache.places_B]
    sum_1 = sum_1.unflatten(2, sizes).transpose(1, 2).flatten(0, 1)[cache.places_B]
    out_2, sum_2 = FLASH(query_BKgD, *own, scale=scaling)
    return out_1.lerp_(out_2, (sum_2 - sum_1).sigmoid_().unsqueeze(-1)).flatten(1)


def own_mask(segment: Segment) -> torch.Tensor | None:
    """What is added to the scores of a segment behind a prompt, (t, prompt + t); None where there
    is none, and attention is plainly causal.
    """
    before = segment.prompt[1] - segment.prompt[0]
    if not before:
        return None
    tokens = segment.end - segment.start
    return torch.full((tokens, before + tokens), -torch.inf).triu_(before + 1)


def attend_segment(
    segment: Segment, mask: torch.Tensor | None, scaling: float, states: States
) -> torch.Tensor:
    """Attention of one segment over its prompt and itself, (1, A, t, D). States are those of the
    whole pack: (1, A, N, D) and twice (1, K, N, D).
    """
    query, key, value = states
    at, prompt = slice(segment.start, segment.end), slice(*segment.prompt)
    seen = (key[:, :, at], value[:, :, at])
    if mask is not None:
        seen = (torch.cat([x[:, :, prompt], x[:, :, at]], 2) for x in (key, value))
    return scaled_dot_product_attention(
        query[:, :, at], *seen, attn_mask=mask, is_causal=mask is None, scale=scaling,
        enable_gqa=True,
    )  # fmt: skip
