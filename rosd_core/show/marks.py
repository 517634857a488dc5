"""A response with its error quotes and supervised tokens marked: by rows of signs below the text,
which need no colour, and by colour.

Dimension names: T token, N supervised token, C character of the response.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from rich.cells import cell_len
from rich.text import Text

from rosd_core.terminal import printable

MOST = math.log(2)  # nats: the largest JSD
LINE_END = "\u21b5"
# the least tenth of MOST -> style; the digits below the text say the same
SHADES = ((7, "white on #b23b00"), (4, "black on #ffb454"), (1, "black on #ffe8a3"))


@dataclass(frozen=True)
class Sign:
    """One character of the response, or a special token, as it is shown. `mark`: a digit (tenths of
    the largest divergence) or `-` (not scored) where it is supervised, else empty.
    """

    text: str
    quoted: bool
    mark: str

    @property
    def style(self) -> str:
        level = int(self.mark) if self.mark.isdigit() else 0
        shade = next((style for least, style in SHADES if level >= least), "")
        return " ".join(filter(None, ["underline" * self.quoted, shade if self.mark else "dim"]))


@dataclass(frozen=True)
class Marks:
    """What is known of the tokens of a response. `names_T` holds the names of special tokens, which
    have no text, else None. `divergence_N` is None where the teacher has not scored them.
    """

    spans_T2: np.ndarray
    names_T: Sequence[str | None]
    positions_N: Sequence[int]
    divergence_N: Sequence[float] | None


def tenths(divergence: float) -> str:
    """A divergence in nats as a digit: tenths of the largest possible one, rounded down."""
    return str(max(0, min(9, int(10 * divergence / MOST))))


def signs(response: str, quotes: Sequence[tuple[int, int]], marks: Marks | None) -> list[Sign]:
    """The response as signs, special tokens among them. `quotes`: characters [start, end)."""
    mark_C, special = [""] * len(response), {}
    if marks is not None:
        mark_T = _marks_of_tokens(marks)
        for (start, end), name, mark in zip(marks.spans_T2, marks.names_T, mark_T, strict=True):
            if name is not None:
                special.setdefault(int(start), []).append(Sign(name, False, mark))
            for c in range(start, end):
                mark_C[c] = max(mark_C[c], mark)  # tokens may share a character
    quoted = {c for start, end in quotes for c in range(start, end)}
    found: list[Sign] = []
    for c, character in enumerate(response):
        found += special.get(c, [])
        found.append(Sign(character, c in quoted, mark_C[c]))
    return found + special.get(len(response), [])


def _marks_of_tokens(marks: Marks) -> list[str]:
    mark_T = [""] * len(marks.spans_T2)
    for n, t in enumerate(marks.positions_N):
        mark_T[t] = "-" if marks.divergence_N is None else tenths(marks.divergence_N[n])
    return mark_T


def rows(found: Sequence[Sign], width: int) -> list[list[Sign]]:
    """The signs in rows of at most `width` cells. What could steer a terminal is escaped; the end
    of a line is a sign of its own where it is supervised.
    """
    lines: list[list[Sign]] = [[]]
    used = 0
    for sign in found:
        text = _shown(sign)
        if used + cell_len(text) > width and lines[-1]:
            lines.append([])
            used = 0
        if text:
            lines[-1].append(Sign(text, sign.quoted, sign.mark))
            used += cell_len(text)
        if sign.text == "\n":
            lines.append([])
            used = 0
    return lines


def _shown(sign: Sign) -> str:
    if sign.text == "\n":
        return LINE_END if sign.mark else ""
    return "    " if sign.text == "\t" else printable(sign.text)


def marked(found: Sequence[Sign], width: int) -> Text:
    """The response as it is printed: each row of text, below it `^` under quotes, and below that
    the marks of supervised tokens.
    """
    text = Text()
    for row in rows(found, width):
        for style, alike in groupby(row, lambda sign: sign.style):
            text.append("".join(sign.text for sign in alike), style)
        text.append("\n")
        for below in (
            "".join(("^" if s.quoted else " ") * cell_len(s.text) for s in row).rstrip(),
            "".join((s.mark or " ") * cell_len(s.text) for s in row).rstrip(),
        ):
            if below:
                text.append(f"{below}\n")
    return text
