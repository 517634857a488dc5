"""A prompt in at most so many tokens: the longest part loses its middle, the instructions never."""

import json
from collections.abc import Callable
from dataclasses import dataclass

from rosd_core.errors import RosdError
from rosd_core.prompts.templates import Messages

GAP = " [...] "  # stands for what was left out


@dataclass(frozen=True)
class Fitted:
    """A prompt that fits: its messages, its token ids, and what it lacks (JSON: characters left out
    of each part; None where it is whole).
    """

    messages: Messages
    ids: list[int]
    shortened: str | None


def fit(
    ask: Callable[..., Messages],
    encode: Callable[[Messages], list[int]],
    longest: int,
    row: str,
    system: str | None = None,
    **parts: str,
) -> Fitted:
    """`ask(**parts)` in at most `longest` tokens.

    While it is longer, the longest part loses characters in its middle. The template's own words,
    the system message and the assistant's header always stay: published code that cuts from the
    right or left loses just these. Raises RosdError, naming `row`, where they alone are too long.
    """
    kept, cut = dict(parts), dict.fromkeys(parts, 0)
    while True:
        messages = ask(**kept, system=system)
        ids = encode(messages)
        if len(ids) <= longest:
            told = {name: count for name, count in cut.items() if count}
            return Fitted(messages, ids, json.dumps(told) if told else None)
        name = max(kept, key=lambda part: len(kept[part]))
        size = len(parts[name]) - cut[name]
        room = sum(map(len, kept.values())) / len(ids)  # characters per token, at most about this
        count = max(1, min(size - 1, int((len(ids) - longest) * room)))
        if size <= 1:
            raise RosdError(
                f"{row}: the prompt needs {len(ids)} tokens even with all its parts left out, "
                f"and max_prompt_tokens is {longest}; raise it, or shorten the templates."
            )
        cut[name] += count
        head = (size - count + 1) // 2
        tail = size - count - head
        whole = parts[name]
        kept[name] = whole[:head] + GAP + whole[len(whole) - tail :]
