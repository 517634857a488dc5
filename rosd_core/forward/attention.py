"""Attention of packs: a token attends to the prompt of its segment and, in its segment, to itself
and what is before it.

On a CPU the two parts are attended to apart, so that no prompt is copied for its responses and no
mask is needed, and are put together by their log-sum-exp (l1 over the prompt, l2 over the segment):

    l = log(e^l1 + e^l2)        out = e^(l1 - l) out1 + e^(l2 - l) out2

The gradient of a part is that of attention alone, given out and l of both: it needs no more than
p = e^(score - l) and dscore = p (dp - dout . out). Source: arXiv 2205.14135 (FlashAttention),
2310.01889 (ring attention). Elsewhere each segment has a call of its own, with a mask.

Dimension names: T packed token, t token of a segment, A attention head, D head width; keys and
values may have fewer heads than A, each for a group of them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from torch.autograd.function import once_differentiable
from torch.nn.functional import scaled_dot_product_attention

FLASH = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
FLASH_BACKWARD = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


@dataclass(frozen=True)
class Segment:
    """Tokens start..end of the pack; `prompt` is the shared piece before them, which is a segment
    itself; (0, 0) if there is none.
    """

    start: int
    end: int
    prompt: tuple[int, int] = (0, 0)


def segment_attention(
    query_1ATD: torch.Tensor,
    key_1ATD: torch.Tensor,
    value_1ATD: torch.Tensor,
    segments: Sequence[Segment],
    window: int | None,
    dropout: float,
    scaling: float | None,
) -> torch.Tensor:
    """Attention of every token to the prompt of its segment and to its segment up to itself, at
    most `window` tokens back, (1, T, A, D). Segments follow each other and cover all tokens.
    """
    kind = query_1ATD.device.type
    reach = max(s.end - s.start + s.prompt[1] - s.prompt[0] for s in segments)
    whole = not window or window >= reach
    if torch.is_autocast_enabled(kind):
        dtype = torch.get_autocast_dtype(kind)
        query_1ATD, key_1ATD, value_1ATD = (x.to(dtype) for x in (query_1ATD, key_1ATD, value_1ATD))
    if kind == "cpu" and whole and not dropout and query_1ATD.shape[-1] == value_1ATD.shape[-1]:
        return _TwoParts.apply(query_1ATD, key_1ATD, value_1ATD, tuple(segments), scaling)
    return _one_by_one(
        query_1ATD, key_1ATD, value_1ATD, segments, None if whole else window, dropout, scaling
    )


@dataclass(frozen=True)
class _Part:
    """Tokens `at` attend to tokens `to`: to all of them, or (causal) to those up to themselves."""

    at: slice
    to: slice
    causal: bool


def _parts(segments: Sequence[Segment]) -> Iterator[_Part]:
    """First every segment and itself, then all segments of a prompt and the prompt."""
    segments = [segment for segment in segments if segment.end > segment.start]
    for segment in segments:
        own = slice(segment.start, segment.end)
        yield _Part(own, own, True)
    for (first, last), group in groupby(segments, lambda segment: segment.prompt):
        members = list(group)
        if last > first:
            yield _Part(slice(members[0].start, members[-1].end), slice(first, last), False)


def _for_each_head(x_1ATD: torch.Tensor, heads: int) -> torch.Tensor:
    """Keys or values for every attention head."""
    return x_1ATD.repeat_interleave(heads // x_1ATD.shape[1], 1)


class _TwoParts(torch.autograd.Function):
    """The attention of this module on a CPU, (1, T, A, D)."""

    @staticmethod
    def forward(
        ctx: Any,
        query_1ATD: torch.Tensor,
        key_1ATD: torch.Tensor,
        value_1ATD: torch.Tensor,
        segments: Sequence[Segment],
        scaling: float | None,
    ) -> torch.Tensor:
        _, heads, tokens, width = query_1ATD.shape
        key, value = (_for_each_head(x, heads) for x in (key_1ATD, value_1ATD))
        out_1TAD = query_1ATD.new_empty(1, tokens, heads, width)
        lse_1TA = query_1ATD.new_empty(1, tokens, heads, dtype=torch.float32)
        out, lse = out_1TAD.transpose(1, 2), lse_1TA.transpose(1, 2)
        for part in _parts(segments):
            at, to = part.at, part.to
            found, found_lse = FLASH(
                query_1ATD[:, :, at], key[:, :, to], value[:, :, to], 0.0, part.causal,
                scale=scaling,
            )  # fmt: skip
            if not part.causal:
                own, own_lse = out[:, :, at], lse[:, :, at].clone()
                prompt_lse, found_lse = found_lse, torch.logaddexp(own_lse, found_lse)
                found = found * (prompt_lse - found_lse).exp_().unsqueeze(-1)
                found += own * (own_lse - found_lse).exp_().unsqueeze(-1)
            out[:, :, at], lse[:, :, at] = found, found_lse
        ctx.save_for_backward(query_1ATD, key_1ATD, value_1ATD, out_1TAD, lse_1TA)
        ctx.segments, ctx.scaling = segments, scaling
        return out_1TAD

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *outputs: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        query, key_1ATD, value_1ATD, out_1TAD, lse_1TA = ctx.saved_tensors
        slope, out, lse = (x.transpose(1, 2) for x in (outputs[0], out_1TAD, lse_1TA))
        key, value = (_for_each_head(x, query.shape[1]) for x in (key_1ATD, value_1ATD))
        gradients = [torch.empty_like(x) for x in (query, key, value)]
        for part in _parts(ctx.segments):
            at, to = part.at, part.to
            found = FLASH_BACKWARD(
                slope[:, :, at], query[:, :, at], key[:, :, to], value[:, :, to], out[:, :, at],
                lse[:, :, at], 0.0, part.causal, scale=ctx.scaling,
            )  # fmt: skip
            for gradient, more, place in zip(gradients, found, (at, to, to), strict=True):
                # a segment and itself come first
                gradient[:, :, place] = more if part.causal else more + gradient[:, :, place]
        shared = [
            gradient.unflatten(1, (x.shape[1], -1)).sum(2)
            for gradient, x in zip(gradients[1:], (key_1ATD, value_1ATD), strict=True)
        ]
        return gradients[0], *shared, None, None


def _mask(queries: int, keys: int, window: int | None, device: torch.device) -> torch.Tensor:
    """Which of `keys` the last `queries` of them see, (queries, keys): those before, at most
    `window` back.
    """
    seen = torch.ones(queries, keys, dtype=torch.bool, device=device).tril(keys - queries)
    return seen.triu(keys - queries - window + 1) if window else seen


def _one_by_one(
    query_1ATD: torch.Tensor,
    key_1ATD: torch.Tensor,
    value_1ATD: torch.Tensor,
    segments: Sequence[Segment],
    window: int | None,
    dropout: float,
    scaling: float | None,
) -> torch.Tensor:
    """The same by one call for each segment, whose keys follow those of its prompt."""
    sizes = [segment.end - segment.start for segment in segments]
    queries, keys, values = (x.split(sizes, 2) for x in (query_1ATD, key_1ATD, value_1ATD))
    number = {(segment.start, segment.end): n for n, segment in enumerate(segments)}
    groups, pieces = query_1ATD.shape[1] // key_1ATD.shape[1], []
    # grouped heads have a kernel of their own on a GPU alone, in half precision and without a mask
    half = query_1ATD.is_cuda and query_1ATD.dtype in (torch.float16, torch.bfloat16)
    for segment, query, key, value in zip(segments, queries, keys, values, strict=True):
        first, last = segment.prompt
        if last > first:
            before = number[segment.prompt]
            key, value = torch.cat([keys[before], key], 2), torch.cat([values[before], value], 2)
        causal = last == first and not (window and key.shape[2] > window)
        mask = None if causal else _mask(query.shape[2], key.shape[2], window, query.device)
        grouped = groups > 1 and half and mask is None
        if groups > 1 and not grouped:
            key, value = (_for_each_head(x, query.shape[1]) for x in (key, value))
        piece = scaled_dot_product_attention(
            query, key, value, attn_mask=mask, dropout_p=dropout, is_causal=causal, scale=scaling,
            enable_gqa=grouped,
        )  # fmt: skip
        pieces.append(piece)
    return torch.cat(pieces, 2).transpose(1, 2).contiguous()
