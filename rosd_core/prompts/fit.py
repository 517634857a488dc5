"""Prompts of at most so many tokens: the longest part loses its middle, the instructions never."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rosd_core.errors import RosdError
from rosd_core.prompts.chat import encode_chat
from rosd_core.prompts.templates import Messages, Prompts

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

GAP = " [...] "  # marks what was left out


@dataclass(frozen=True)
class FittedPrompt:
    """A prompt that fits: its messages, its token ids, and the characters left out of each part
    (JSON; None: nothing).
    """

    messages: Messages
    ids: list[int]
    shortened: str | None


def fit(
    template: Callable[..., Messages],
    encode: Callable[[Messages], list[int]],
    max_tokens: int,
    row: str,
    system: str | None = None,
    **parts: str,
) -> FittedPrompt:
    """`template(**parts)` in at most `max_tokens` tokens.

    While it is longer, the longest part loses characters in its middle. The template's own words,
    the system message and the assistant's header always stay: code that cuts from the right or left
    loses exactly these. Raises RosdError, naming `row`, where they alone are too long.
    """
    kept, dropped = dict(parts), dict.fromkeys(parts, 0)
    while True:
        messages = template(**kept, system=system)
        ids = encode(messages)
        if len(ids) <= max_tokens:
            counts = {name: count for name, count in dropped.items() if count}
            return FittedPrompt(messages, ids, json.dumps(counts) if counts else None)
        name = max(kept, key=lambda part: len(kept[part]))
        size = len(parts[name]) - dropped[name]
        if size <= 1:
            raise RosdError(
                f"{row}: the prompt needs {len(ids)} tokens even with all its parts left out, "
                f"and max_prompt_tokens is {max_tokens}; raise it, or shorten the templates."
            )
        chars_per_token = sum(map(len, kept.values())) / len(ids)  # at most about this
        count = max(1, min(size - 1, int((len(ids) - max_tokens) * chars_per_token)))
        dropped[name] += count
        kept[name] = _without_middle(parts[name], size - count)


def _without_middle(text: str, size: int) -> str:
    """The first and the last characters of a text, `size` in all, around GAP."""
    head = (size + 1) // 2
    tail = size - head
    return text[:head] + GAP + text[len(text) - tail :]


@dataclass(frozen=True)
class PromptBuilder:
    """Templates, a tokenizer with its chat template, and the most tokens that a prompt may have."""

    prompts: Prompts
    tokenizer: "PreTrainedTokenizerBase"
    max_tokens: int

    def build(
        self, template: Callable[..., Messages], row: str, system: str | None, **parts: str
    ) -> FittedPrompt:
        """A prompt from one of the templates and its parts; `row` is named in errors."""
        return fit(template, self._encode, self.max_tokens, row, system, **parts)

    def _encode(self, messages: Messages) -> list[int]:
        return encode_chat(self.tokenizer, messages, self.prompts.thinking)
