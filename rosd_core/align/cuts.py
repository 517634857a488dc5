"""How cleanly a piece is cut out of a text: at lines, at sentences, at words or within a word."""

import re
from collections.abc import Iterator

from rapidfuzz import fuzz

from rosd_core.align.effort import COMPARED
from rosd_core.align.fold import Span, fold, fold_once

WORD = re.compile(r"\d+(?:[.,]\d+)*|[^\W\d_]+")  # or a number
CUT = 3  # the worst rank: a word or number is cut
SHORTEST_LINE = 4  # folded characters: a shorter line at the edge of a match is not its own
LONGEST_WORD = 1000  # characters by which a span grows to whole words
ALIKE = 75  # least similarity (0..100) of a line and the part of the quote that copies it
_CLOSING = " \t\r\n.,;:!?)]}*\"'\u2019\u201d"


def occurrences(part: str, text: str) -> Iterator[int]:
    """Starts of all occurrences of a part that is not empty, overlapping ones too."""
    at = text.find(part)
    while at >= 0:
        yield at
        at = text.find(part, at + 1)


def splits_word(text: str, at: int) -> bool:
    """Whether position `at` is within a word or a number."""
    before, after = text[max(0, at - 2) : at], text[at : at + 2]
    if not before or not after:
        return False
    if before[-1].isalnum() and after[0].isalnum():
        return before[-1].isdigit() == after[0].isdigit()
    number = len(before) == 2 and before[0].isdigit() and before[1] in ".," and after[0].isdigit()
    return number or (
        before[-1].isdigit() and len(after) == 2 and after[0] in ".," and after[1].isdigit()
    )


def cut_rank(text: str, start: int, end: int) -> int:
    """How cleanly [start, end) is cut out: 0 a whole line, 1 from the start of a line or sentence,
    2 between words, 3 within a word or number.
    """
    if splits_word(text, start) or splits_word(text, end):
        return CUT
    before, after = (
        text[max(0, start - 8) : start].rstrip(" \t"),
        text[end : end + 8].lstrip(" \t."),
    )
    opens = start == 0 or (before != "" and before[-1] in "\n.!?;")
    closes = end >= len(text) or after[:1] in ("", "\n")
    return 2 - opens - (opens and closes)


def lines_of(text: str, start: int, end: int) -> Span:
    """The lines that [start, end) touches."""
    after = text.find("\n", end)
    return text.rfind("\n", 0, start) + 1, len(text) if after < 0 else after


def whole_words(text: str, start: int, end: int) -> Span:
    """The span grown to whole words and numbers, without white space at its edges."""
    while start < end and text[start].isspace():
        start += 1
    first, last = max(0, start - LONGEST_WORD), min(len(text), end + LONGEST_WORD)
    while start > first and splits_word(text, start):
        start -= 1
    while end < last and splits_word(text, end):
        end += 1
    return start, end


def own_edges(quote: str, response: str, start: int, end: int) -> Span:
    """The span without what the quote does not hold: whole lines at its edges, where the quote has
    only one line, and punctuation at its start.
    """
    if "\n" not in quote.strip():
        wanted, lines, at = fold_once(quote).text[:COMPARED], [], start
        for line in response[start:end].split("\n"):
            words = fold(line).text[:COMPARED] if line else ""
            alike = fuzz.partial_ratio(words, wanted) if len(words) >= SHORTEST_LINE else 0
            lines.append((alike >= ALIKE, len(line), at, at + len(line)))
            at += len(line) + 1
        own = [line for line in lines if line[0]] or [max(lines)]
        start, end = own[0][2], own[-1][3]
    first = quote.lstrip()[:1]
    while start < end - 1 and response[start] in _CLOSING and response[start] != first:
        start += 1
    return start, end
