"""Step-aligned critique: the student's own response with a verdict on every line.

Lines before the error quote are marked as right and the line in which it begins as wrong, with the
corrective idea under it; what follows from the error is left out. Of a correct response every line
is right, and the idea says why. A step of a solution is a line; empty lines are left out.

A critique of this kind teaches better than a reference solution: arXiv 2606.11173.
"""

from rosd_core.prompts.thinking import after_thinking, thinking_spans


def write_critique(response: str, error: int | None, idea: str) -> str:
    """The critique of a response whose first error begins at character `error`; None: it is
    correct.
    """
    text, place = _without_thinking(response, error)
    end = len(text) if place is None else text.rfind("\n", 0, place) + 1
    lines = [f"Right: {line}" for line in _lines(text[:end])]
    if place is not None:
        lines += [f"Wrong: {line}" for line in _lines(text[end:])[:1]]
    return "\n".join([*lines, f"Why: {idea}"])


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.split("\n") if line.strip()]


def _without_thinking(response: str, error: int | None) -> tuple[str, int | None]:
    """The response without its thinking, and where the error is there. It stays whole where the
    error itself lies in the thinking.
    """
    spans = thinking_spans(response)
    text = after_thinking(response)
    if error is None:
        return text, None
    if any(first <= error < last for first, last in spans):
        return response, error
    return text, error - sum(last - first for first, last in spans if last <= error)
