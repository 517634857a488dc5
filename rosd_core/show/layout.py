"""Printing that several of the commands share."""

from rich.console import Console, RenderableType
from rich.segment import Segment, Segments


def print_indented(console: Console, body: RenderableType, by: int = 2) -> None:
    """Print with each line indented, and no spaces at the ends of lines."""
    narrow = console.options.update(width=max(1, console.width - by))
    for line in console.render_lines(body, narrow, pad=False):
        kept = stripped(line)
        indent = [Segment(" " * by)] if kept else []
        console.print(Segments([*indent, *kept, Segment.line()]), end="")


def stripped(line: list[Segment]) -> list[Segment]:
    """A line without the spaces at its end, except those with a background."""
    kept = list(line)
    while kept:
        last = kept.pop()
        if last.style is not None and last.style.bgcolor is not None:
            return [*kept, last]
        if text := last.text.rstrip(" "):
            return [*kept, Segment(text, last.style)]
    return []
