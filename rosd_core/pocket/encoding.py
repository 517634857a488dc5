"""Conversations as token ids, for any fast tokenizer with a chat template.

Prompt and reply are encoded one by one, as the stages do with prompts and sampled responses: a
tokenizer could otherwise join the end of the one and the start of the other.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

from transformers import PreTrainedTokenizerBase

from rosd_core.errors import RosdError
from rosd_core.pocket.lessons import Conversation
from rosd_core.prompts.chat import chat_text
from rosd_core.prompts.templates import Messages

RESULT = re.compile(r"(?:=| is )(\d+)")  # of a calculation, in signs or in words
_REPLY = "Yes."

# messages of the prompt, reply, and the characters of the reply that are learnt; None: all of it
# and the token that ends it
Learnt = tuple[Messages, str, Sequence[tuple[int, int]] | None]


class Encoded(NamedTuple):
    """Ids of prompt and response, the token that ends it included, and the indices of the
    response's tokens that are learnt.
    """

    prompt: list[int]
    response: list[int]
    positions: list[int]


def encode(
    rows: Sequence[Conversation], tokenizer: PreTrainedTokenizerBase, end: int
) -> list[Encoded]:
    """Each conversation, which ends with the id `end`. Of a drill the results alone are learnt,
    every token that holds one of their characters.
    """
    spans = [
        [m.span(1) for m in RESULT.finditer(row.reply)] if row.skill == "drill" else None
        for row in rows
    ]
    learnt = [(row.messages, row.reply, s) for row, s in zip(rows, spans, strict=True)]
    return encode_learnt(learnt, tokenizer, end)


def encode_learnt(
    rows: Sequence[Learnt], tokenizer: PreTrainedTokenizerBase, end: int
) -> list[Encoded]:
    """As `encode`, with the characters of each reply that are learnt."""
    if not rows:
        return []
    heads = [chat_text(tokenizer, messages) for messages, _, _ in rows]
    prompts = tokenizer(heads, add_special_tokens=False)["input_ids"]
    replies = tokenizer(
        [reply for _, reply, _ in rows], add_special_tokens=False, return_offsets_mapping=True
    )
    encoded = []
    for (_, _, spans), prompt, ids, offsets in zip(
        rows, prompts, replies["input_ids"], replies["offset_mapping"], strict=True
    ):
        positions = list(range(len(ids) + 1)) if spans is None else _touching(offsets, spans)
        encoded.append(Encoded(prompt, [*ids, end], positions))
    return encoded


def _touching(offsets: Sequence[tuple[int, int]], spans: Sequence[tuple[int, int]]) -> list[int]:
    """Indices of the tokens that hold a character of one of the spans."""
    return [
        t
        for t, (start, stop) in enumerate(offsets)
        if any(start < last and first < stop for first, last in spans)
    ]


def reply_end(tokenizer: PreTrainedTokenizerBase, stops: Sequence[int]) -> int:
    """The id that a response ends with: of those that stop it, the first that the chat template
    writes behind an assistant's message; where it writes none, the first of `stops`. Raises
    RosdError where nothing stops a response.
    """
    if not stops:
        raise RosdError(
            f"{tokenizer.name_or_path}: neither model nor tokenizer names an end token."
        )
    said = [{"role": "user", "content": "Ready?"}, {"role": "assistant", "content": _REPLY}]
    text = str(tokenizer.apply_chat_template(said, tokenize=False, enable_thinking=False))
    behind = tokenizer(text.rpartition(_REPLY)[2], add_special_tokens=False)["input_ids"]
    return next((i for i in behind if i in stops), stops[0])
