"""Chat messages to token ids, and sampled ids to text. Needs no model and no engine."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rosd_core.tables.row_types import Message

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def pad_id(tokenizer: "PreTrainedTokenizerBase") -> int:
    """The id that fills batches: the pad token, else the end token; no result depends on it."""
    return next(i for i in (tokenizer.pad_token_id, tokenizer.eos_token_id) if isinstance(i, int))


def decode(tokenizer: "PreTrainedTokenizerBase", ids: Sequence[int]) -> str:
    """The text of sampled ids without special tokens, exactly as the decoder writes it. Cleaned-up
    text could not be mapped back to tokens.
    """
    return str(
        tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
    )


def encode_chat(
    tokenizer: "PreTrainedTokenizerBase", messages: Sequence[Message], thinking: bool = False
) -> list[int]:
    """Chat messages as prompt ids that end where the assistant begins."""
    return tokenizer(chat_text(tokenizer, messages, thinking), add_special_tokens=False)[
        "input_ids"
    ]


def chat_text(
    tokenizer: "PreTrainedTokenizerBase", messages: Sequence[Message], thinking: bool = False
) -> str:
    """Chat messages as text that ends where the assistant begins. `thinking` is what templates of
    reasoning models call `enable_thinking`; other templates ignore it.
    """
    return str(
        tokenizer.apply_chat_template(
            [{"role": m["role"], "content": m["content"]} for m in messages],
            tokenize=False,
            add_generation_prompt=True,
            enable_thinking=thinking,
        )
    )
