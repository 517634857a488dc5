"""Thinking blocks in a model's text, and what follows them."""

import re

_CLOSED_THOUGHT = re.compile(
    r"<think(?:ing)?>(?:(?!<think(?:ing)?>).)*?</think(?:ing)?>", re.DOTALL | re.IGNORECASE
)


_END_OF_THOUGHT = re.compile(r"</think(?:ing)?>", re.IGNORECASE)


_OPEN_THOUGHT = re.compile(r"\s*<think(?:ing)?>", re.IGNORECASE)


def after_thinking(raw: str) -> str:
    """What follows the thinking: blocks are cut out, and all before a closing tag that was never
    opened (a prompt may open it). A block that never ends is all there is.
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
