"""Rows of different lengths through a model without padding: all tokens are concatenated into one
sequence, a prompt that several rows share is in it once, and attention runs segment by segment.

    packed  [ prompt A | response 1 | response 2 | prompt B | response 3 ]
    response 2 attends to prompt A and to itself, at the positions that it would have behind A

The hidden states equal those of every row alone. Of a row only the tokens that are needed are read:
none after the one that predicts its last supervised token.

Dimension names: T packed token, N supervised token, H hidden, A attention head, D head width.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from transformers import AttentionInterface, PreTrainedModel

from rosd_core.errors import RosdError
from rosd_core.forward.attention import Segment, segment_attention
from rosd_core.forward.last_layer import last_layer_where_read

NAME = "rosd_packed"
# further arguments that models pass to their attention and that do not change it
HARMLESS = {
    "cache_position", "is_causal", "output_attentions", "output_hidden_states", "position_ids",
    "read", "return_dict", "use_cache",
}  # fmt: skip

# prompt ids, response ids, positions: ascending indices of the response
PackRow = tuple[Sequence[int], Sequence[int], Sequence[int]]


@dataclass(frozen=True)
class Pack:
    """What the model reads, and the places from which the supervised tokens are predicted."""

    ids_T: torch.Tensor
    positions_T: torch.Tensor
    segments: tuple[Segment, ...]
    sources_N: torch.Tensor  # index of the packed token whose hidden state predicts


def pack(rows: Sequence[PackRow]) -> Pack:
    """Concatenate rows; supervised tokens come row by row, in the order given.

    A prompt of one row forms one segment with its response; a prompt of several is shared.
    """
    rows_of: dict[tuple[int, ...], list[int]] = {}
    for number, (prompt, _, _) in enumerate(rows):
        rows_of.setdefault(tuple(prompt), []).append(number)
    ids: list[int] = []
    at: list[int] = []
    segments: list[Segment] = []
    sources: dict[int, list[int]] = {}
    for prompt, members in rows_of.items():
        first, size = len(ids), len(prompt)
        ids += prompt
        at += range(size)
        shared = len(members) > 1
        if shared:
            segments.append(Segment(first, len(ids)))
        for number in members:
            _, response, positions = rows[number]
            used = response[: positions[-1]] if positions else []  # its last token is predicted
            start = len(ids)
            ids += used
            at += range(size, size + len(used))
            sources[number] = [start + t - 1 if t else first + size - 1 for t in positions]
            if shared and used:
                segments.append(Segment(start, len(ids), (first, first + size)))
        if not shared:
            segments.append(Segment(first, len(ids)))
    return Pack(
        torch.tensor(ids, dtype=torch.long),
        torch.tensor(at, dtype=torch.long),
        tuple(segments),
        torch.tensor([s for n in range(len(rows)) for s in sources[n]], dtype=torch.long),
    )


def pack_row(row: Mapping[str, Any], prompt: str = "prompt_ids") -> PackRow:
    """The pack row of a table's row; `prompt` is the column with its prompt."""
    return row[prompt], row["response_ids"], row["positions"]


def sampled_tokens(rows: Sequence[PackRow]) -> torch.Tensor:
    """The ids that were sampled at the supervised positions, row by row, (N,)."""
    ids = [response[t] for _, response, positions in rows for t in positions]
    return torch.tensor(ids, dtype=torch.long)


def packed_tokens(rows: Sequence[PackRow]) -> int:
    """The number of tokens in the pack of these rows."""
    prompts = {tuple(prompt) for prompt, _, _ in rows}
    return sum(map(len, prompts)) + sum(positions[-1] for _, _, positions in rows if positions)


class _GrowingPack:
    """The tokens of a pack to which rows are added; a prompt is counted once."""

    def __init__(self) -> None:
        self.tokens = 0
        self.prompts: set[tuple[int, ...]] = set()

    def with_row(self, row: PackRow) -> int:
        """Its tokens, if this row were added."""
        prompt, _, positions = row
        known = tuple(prompt) in self.prompts
        return self.tokens + (positions[-1] if positions else 0) + (0 if known else len(prompt))

    def add(self, row: PackRow) -> None:
        self.tokens = self.with_row(row)
        self.prompts.add(tuple(row[0]))


def batches(
    rows: Sequence[PackRow], most: int, teacher_rows: Sequence[PackRow] | None = None
) -> Iterator[list[int]]:
    """Indices of rows in batches whose pack holds at most `most` tokens: the student's pack and,
    where `teacher_rows` are given, the teacher's too. A longer row is a batch of its own.

    Rows of one prompt stay together, so that they share it.
    """
    sides = [rows] if teacher_rows is None else [rows, teacher_rows]
    order = sorted(range(len(rows)), key=lambda n: (len(rows[n][0]), tuple(rows[n][0]), n))
    batch: list[int] = []
    packs = [_GrowingPack() for _ in sides]
    for n in order:
        grown = [pack.with_row(side[n]) for pack, side in zip(packs, sides, strict=True)]
        if batch and max(grown) > most:
            yield batch
            batch, packs = [], [_GrowingPack() for _ in sides]
        batch.append(n)
        for pack, side in zip(packs, sides, strict=True):
            pack.add(side[n])
    if batch:
        yield batch


def _attention(
    module: torch.nn.Module,
    query_1ATD: torch.Tensor,
    key_1ATD: torch.Tensor,
    value_1ATD: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **more: Any,
) -> tuple[torch.Tensor, None]:
    """Attention of every segment over its prompt and itself, (1, T, A, D). Raises RosdError for a
    model that passes arguments which are not known here.
    """
    segments, window = more.pop("segments", ()), more.pop("sliding_window", None)
    more["attention_mask"] = attention_mask
    odd = sorted(name for name, value in more.items() if value is not None and name not in HARMLESS)
    if odd or more.get("is_causal") is False or not segments:
        raise RosdError(
            f"{type(module).__name__}: its attention is not plain causal attention"
            f" ({', '.join(odd) or 'is_causal'}), and rows cannot be packed for it."
        )
    out = segment_attention(query_1ATD, key_1ATD, value_1ATD, segments, window, dropout, scaling)
    return out, None


AttentionInterface.register(NAME, _attention)


def can_pack(model: PreTrainedModel) -> bool:
    """Whether every layer of the model is plain attention (no sinks, no softcap) that goes through
    transformers' interface.
    """
    kinds = set(getattr(model.config, "layer_types", None) or ["full_attention"])
    plain = kinds <= {"full_attention", "sliding_attention"}
    plain &= getattr(model.config, "attn_logit_softcapping", None) is None
    plain &= not any(name.endswith("sinks") for name, _ in model.named_parameters())
    return plain and bool(getattr(model, "_supports_attention_backend", False))


@contextmanager
def packed_attention(model: PreTrainedModel) -> Iterator[None]:
    """A context in which the model attends as packs need; backward passes belong inside too. Within
    another one of the same model, as where a student is its own teacher, it changes nothing.
    """
    before = model.config._attn_implementation or "sdpa"
    if before == NAME:
        yield
        return
    model.set_attn_implementation(NAME)
    try:
        with last_layer_where_read(model):
            yield
    finally:
        model.set_attn_implementation(before)


def packed_hidden(model: PreTrainedModel, packed: Pack) -> torch.Tensor:
    """Final hidden states that predict the supervised tokens, (N, H); within packed_attention."""
    device = model.device
    out = model.base_model(
        input_ids=packed.ids_T.unsqueeze(0).to(device),
        position_ids=packed.positions_T.unsqueeze(0).to(device),
        use_cache=False,
        segments=packed.segments,
        read=packed.sources_N.unique().to(device),
    )
    return out.last_hidden_state[0].index_select(0, packed.sources_N.to(device))


def supervised_hidden(model: PreTrainedModel, rows: Sequence[PackRow], pad_id: int) -> torch.Tensor:
    """Hidden states that predict the supervised tokens, row by row, (N, H): packed where the model
    allows it. For reading; training keeps `packed_attention` open over the backward pass.
    """
    if not can_pack(model):
        return padded_hidden(model, rows, pad_id)
    with packed_attention(model):
        return packed_hidden(model, pack(rows))


def padded_hidden(model: PreTrainedModel, rows: Sequence[PackRow], pad_id: int) -> torch.Tensor:
    """The same hidden states from rows padded on the right: for models that cannot be packed, and
    to check packs against.
    """
    sequences = [[*prompt, *response] for prompt, response, _ in rows]
    longest = max(map(len, sequences))
    ids_BT = torch.full((len(rows), longest), pad_id)
    keep_BT = torch.zeros(len(rows), longest, dtype=torch.bool)
    for b, (sequence, (prompt, _, positions)) in enumerate(zip(sequences, rows, strict=True)):
        ids_BT[b, : len(sequence)] = torch.tensor(sequence)
        keep_BT[b, torch.tensor(positions, dtype=torch.long) + len(prompt) - 1] = True
    ids_BT, keep_BT = ids_BT.to(model.device), keep_BT.to(model.device)
    hidden_BTH = model.base_model(input_ids=ids_BT, use_cache=False).last_hidden_state
    return hidden_BTH[keep_BT]
