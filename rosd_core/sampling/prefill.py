"""Reading the prompts of a batch: each distinct prompt once, and what prompts have in common at
their start once for all of them, where the model allows it. Then a cache with a row per request.

Dimension names: B row, u prompt of a pack, U distinct prompt, R row of a pack, T token or slot of
the cache, V vocabulary.
"""

from bisect import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import Cache, DynamicLayer

from rosd_core.forward.packing import Pack, can_pack, pack, packed_attention
from rosd_core.sampling.attention import SharedCache
from rosd_core.sampling.batches import prefix_groups, prefix_packs
from rosd_core.sampling.cache import StaticLayer, attends_to_everything
from rosd_core.sampling.decoder import Decoder

ROWS_OF_SHARED = 2  # rows per prompt from which a decoder keeps a prompt once for all of them
PACK_TOKENS = 4096  # of a forward pass over prompts: more take memory and are no faster

Prompt = tuple[int, ...]


@dataclass(frozen=True)
class Prefilled:
    """A cache that holds the prompts, ended by the last of its slots; which of its slots are
    tokens, (B, T); and the logits that follow, (B, V).
    """

    cache: Cache
    mask_BT: torch.Tensor
    logits_BV: torch.Tensor


def prefill(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    max_new: int,
    pad_id: int,
    decoder: Decoder | None = None,
) -> Prefilled:
    """Run the model, or its decoder, over the prompts of a batch. Padding is on the left, so that
    every row writes its next token into the same slot.
    """
    rows = [tuple(prompt) for prompt in prompts]
    distinct = sorted(set(rows))
    number = {prompt: u for u, prompt in enumerate(distinct)}
    rows_B = torch.tensor([number[prompt] for prompt in rows], device=model.device)
    static = attends_to_everything(model)  # other models bring their own cache
    if decoder is not None and len(rows) >= ROWS_OF_SHARED * len(distinct):
        return _shared(model, distinct, rows_B, max_new, decoder)
    if static and can_pack(model):
        return _packed(model, distinct, rows_B, max_new, decoder)
    return _padded(model, distinct, rows_B, pad_id, max_new if static else None)


def _left_padded(rows: Sequence[Sequence[int]], width: int, pad: int) -> torch.Tensor:
    return torch.tensor([[*[pad] * (width - len(row)), *row] for row in rows])


def _mask(prompts: Sequence[Prompt], device: torch.device) -> torch.Tensor:
    """Which slots hold a token of the prompt, (U, T)."""
    longest = max(map(len, prompts))
    return _left_padded([[1] * len(prompt) for prompt in prompts], longest, 0).to(device)


def _padded(
    model: PreTrainedModel,
    prompts: Sequence[Prompt],
    rows_B: torch.Tensor,
    pad_id: int,
    max_new: int | None,
) -> Prefilled:
    """One forward pass over padded prompts; `max_new` None: the model's own kind of cache."""
    mask_UT = _mask(prompts, model.device)
    ids_UT = _left_padded(prompts, mask_UT.shape[1], pad_id).to(model.device)
    cache = DynamicCache(config=model.config)
    if max_new is not None:
        capacity = mask_UT.shape[1] + max_new
        cache = Cache(layers=[StaticLayer(capacity) for _ in cache.layers])
    out = model(
        input_ids=ids_UT,
        attention_mask=mask_UT,
        position_ids=(mask_UT.cumsum(-1) - 1).clamp(min=0),
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    )
    cache.batch_select_indices(rows_B)
    return Prefilled(cache, mask_UT[rows_B], out.logits[:, -1][rows_B])


def _packed(
    model: PreTrainedModel,
    prompts: Sequence[Prompt],
    rows_B: torch.Tensor,
    max_new: int,
    decoder: Decoder | None,
) -> Prefilled:
    """Forward passes over packs, which have no padding and in which a shared prefix stands once;
    their keys and values are copied into the slots of the rows.
    """
    mask_UT = _mask(prompts, model.device)
    longest = mask_UT.shape[1]
    layers = [StaticLayer(longest + max_new) for _ in DynamicCache(config=model.config).layers]
    logits_uV = []
    with packed_attention(model):
        for groups in prefix_packs(prompts, prefix_groups(prompts), PACK_TOKENS):
            first, end = groups[0][0], groups[-1][1]
            packed = pack(
                [
                    (prompts[n][:prefix], prompts[n][prefix:], [len(prompts[n]) - prefix])
                    for start, stop, prefix in groups
                    for n in range(start, stop)
                ]
            )
            read = DynamicCache(config=model.config)
            run = partial(_run, model) if decoder is None else decoder.read
            logits_uV.append(run(packed, read))
            rows_R = ((rows_B >= first) & (rows_B < end)).nonzero().squeeze(1)
            index_uT = _left_padded(_tokens(packed), longest, 0).to(model.device)
            for layer, found in zip(layers, read.layers, strict=True):
                assert isinstance(found, DynamicLayer)
                assert found.keys is not None and found.values is not None
                if not layer.is_initialized:
                    layer.allocate(len(rows_B), found.keys, found.values)
                layer.fill(found, rows_R, index_uT[rows_B[rows_R] - first])
    return Prefilled(Cache(layers=list(layers)), mask_UT[rows_B], torch.cat(logits_uV)[rows_B])


def _shared(
    model: PreTrainedModel,
    prompts: Sequence[Prompt],
    rows_B: torch.Tensor,
    max_new: int,
    decoder: Decoder,
) -> Prefilled:
    """A cache that holds each prompt once."""
    read = _packed(model, prompts, torch.arange(len(prompts)), 0, decoder)
    layers = [layer for layer in read.cache.layers if isinstance(layer, StaticLayer)]
    cache = SharedCache(layers, read.mask_BT, rows_B, max_new)
    return Prefilled(cache, read.mask_BT[rows_B], read.logits_BV[rows_B])


def _run(model: PreTrainedModel, packed: Pack, cache: Cache) -> torch.Tensor:
    """The logits after each prompt of a pack, (u, V); `cache` receives its keys and values."""
    return model(
        input_ids=packed.ids_T.unsqueeze(0).to(model.device),
        position_ids=packed.positions_T.unsqueeze(0).to(model.device),
        past_key_values=cache,
        use_cache=True,
        segments=packed.segments,
        logits_to_keep=packed.sources_N.to(model.device),
    ).logits[0]


def _tokens(packed: Pack) -> list[list[int]]:
    """Of each prompt, the places of its tokens in the pack: those of its prefix and its own."""
    starts, places = [segment.start for segment in packed.segments], []
    for last in packed.sources_N.tolist():
        segment = packed.segments[bisect(starts, last) - 1]
        places.append([*range(*segment.prompt), *range(segment.start, last + 1)])
    return places
