"""Thinking blocks in a model's text, and what follows them."""

import re
from collections.abc import Sequence

_CLOSED_THOUGHT = re.compile(
    r"<think(?:ing)?>(?:(?!<think(?:ing)?>).)*?</think(?:ing)?>", re.DOTALL | re.IGNORECASE
)
_END_OF_THOUGHT = re.compile(r"</think(?:ing)?>", re.IGNORECASE)
_OPEN_THOUGHT = re.compile(r"\s*<think(?:ing)?>", re.IGNORECASE)


def thinking_spans(text: str) -> list[tuple[int, int]]:
    """The characters [start, end) of the thinking, in order: closed blocks, and everything before a
    closing tag without an opening one, which may be in the prompt. A block at the start of what is
    left that is never closed makes all of the text thinking.
    """
    spans = [match.span() for match in _CLOSED_THOUGHT.finditer(text)]
    closers = [match.end() for match in _END_OF_THOUGHT.finditer(text)]
    alone = max(set(closers) - {end for _, end in spans}, default=0)
    spans = [(0, alone)] * (alone > 0) + [span for span in spans if span[0] >= alone]
    return [(0, len(text))] if _OPEN_THOUGHT.match(_without(text, spans)) else spans


def _without(text: str, spans: Sequence[tuple[int, int]]) -> str:
    edges = [0, *(edge for span in spans for edge in span), len(text)]
    return "".join(text[a:b] for a, b in zip(edges[::2], edges[1::2], strict=True))


def after_thinking(raw: str) -> str:
    """The text without its thinking."""
    return _without(raw, thinking_spans(raw))


def without_thinking(text: str) -> str:
    """A response without its thinking: what may be shown as a demonstration."""
    answer = after_thinking(text)
    return text if answer == text else answer.lstrip()
