"""Thinking blocks in a model's text, and what follows them."""

import re

_CLOSED_THOUGHT = re.compile(
    r"<think(?:ing)?>(?:(?!<think(?:ing)?>).)*?</think(?:ing)?>", re.DOTALL | re.IGNORECASE
)
_END_OF_THOUGHT = re.compile(r"</think(?:ing)?>", re.IGNORECASE)
_OPEN_THOUGHT = re.compile(r"\s*<think(?:ing)?>", re.IGNORECASE)


def after_thinking(raw: str) -> str:
    """The text after the thinking. Closed blocks are removed, and so is everything before a closing
    tag without an opening one, which may be in the prompt. A block that is never closed leaves
    nothing.
    """
    text = _CLOSED_THOUGHT.sub("", raw)
    closers = list(_END_OF_THOUGHT.finditer(text))
    if closers:
        text = text[closers[-1].end() :]
    return "" if _OPEN_THOUGHT.match(text) else text


def without_thinking(text: str) -> str:
    """A response without its thinking: what may be shown as a demonstration."""
    answer = after_thinking(text)
    return text if answer == text else answer.lstrip()
