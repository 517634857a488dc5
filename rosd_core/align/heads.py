"""Anchoring a quote on its first words, where the rest of it is not in the response as written.

Reflectors add a comment after the quoted words, leave out what stands between two lines or change
something further on. The longest beginning of the quote that the response holds then tells where
the quote starts; where it ends is uncertain.
"""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from rosd_core.align.cuts import WORD, cut_rank, occurrences, splits_word
from rosd_core.align.fold import Folded, Span, fold_once
from rosd_core.align.variants import label_length

SEED = 6  # folded characters that the quote and the response share where a copy goes on
LEFT_OUT = 400  # folded characters that a quote may leave out at one place
ADDED = 24  # folded characters that a quote may add at one place
LONGEST = 2000  # folded characters of a quote that are followed
PLACES = 8  # places of the head that are taken
TRIED = 64  # and that are looked at

SHORTEST = 12  # folded characters of a head, and its words; a line as a whole may be shorter
FEWEST_WORDS = 3
SHORTEST_LINE = 4
FIRST = 0.3  # share of the quote that the head has to be, where nothing else speaks for it
CERTAIN = 0.75  # and share of it that has to be a copy

_COMMENT = re.compile(  # what a comment of the reflector's starts with
    r"""[\s"'\u201d\u2019`*.,;:!$]*
    (?: \Z | [(\[{](?!\s?(?:\.\.\.|\u2026)) | <-|<=|=>|->|[\u2190\u2192\u21d0\u21d2\u27f5\u27f6]
      | --|[\u2014\u2013]\s | //|\# | ["\u201d`] | \s-\s
      | (?:which|this|that|but|because|should|not|wrong|incorrect|instead)\b
      | is\s(?:not|wrong|incorrect)\b )
    """,
    re.VERBOSE | re.IGNORECASE,
)
_NEXT_PART = re.compile(r"[\s\"'*$)\]]*(?:[.;!?,]|\n|\s(?:[-*#\d]|[A-Z(]))")
_LINE_END = re.compile(r"[\s\"'`*.$)\\\]]*?(?:\n|\Z)")
_NEXT_NUMBER = re.compile(
    r"[^\w\n]{0,6}(?:\\[A-Za-z]{1,6}[^\w\n]{0,4})?(\d+(?:[.,]\d+)*)(?![.):]\s|\*\*)"
)
_OPEN_LABEL = re.compile(r"[\s*_#>-]{0,8}\b(?:step|line|part|case|option)\s{0,2}\Z", re.IGNORECASE)


@dataclass(frozen=True)
class _Copy:
    """What follows a head: how many folded characters of the quote are copied, head included, where
    the copy ends in the folded response, and whether numbers of the quote were left aside.
    """

    copied: int
    end: int
    lost_number: bool


def _follow(quote: Folded, raw: str, response: Folded, read: int, end: int) -> _Copy:
    """Follow a copy beyond its head: the quote read so far, the end in the response."""
    wanted, there, copied, lost = quote.text, response.text, read, False
    while read < len(wanted):
        step = None
        for skip in range(min(ADDED, len(wanted) - read - SEED) + 1):
            seed = wanted[read + skip : read + skip + SEED]
            at = there.find(seed, end, end + LEFT_OUT) if len(seed) == SEED else -1
            if at >= 0:
                step = skip, at
                break
        aside = wanted[read : read + step[0]] if step else wanted[read:]
        if aside and re.search(r"\d", aside):
            piece = raw[quote.starts[read] : quote.ends[read + len(aside) - 1]]
            lost = lost or bool(re.search(r"\d", piece[label_length(piece) :]))
        if step is None:
            break
        read, at = read + step[0], step[1]
        same = 0
        while (
            read + same < len(wanted)
            and at + same < len(there)
            and wanted[read + same] == there[at + same]
        ):
            same += 1
        read, end, copied = read + same, at + same, copied + same
    return _Copy(copied, end, lost)


def _longest_head(wanted: str, there: str) -> int:
    """Characters of the longest beginning of `wanted` that `there` holds; found by bisection."""
    return bisect_right(range(1, len(wanted) + 1), False, key=lambda n: wanted[:n] not in there)


def _accepted(
    raw: str, quote: Folded, response: str, there: Folded, at: int, sizes: Sequence[int]
) -> int:
    """Where the copy that starts at the folded character `at` ends in the folded response, 0 where
    its head says too little. `sizes` of the head end no word of the quote too early, the largest is
    the first.
    """
    size = next((n for n in sizes if not splits_word(response, there.ends[at + n - 1])), 1)
    if opened := _OPEN_LABEL.search(raw, max(0, quote.ends[size - 1] - 20), quote.ends[size - 1]):
        size = bisect_left(quote.ends, opened.start() + 1)
    start, end = there.original(at, at + size) if size > 1 else (0, 0)
    whole_line = cut_rank(response, start, end) == 0
    if size < (SHORTEST_LINE if whole_line else SHORTEST) or splits_word(response, start):
        return 0
    rest, after = raw[quote.ends[size - 1] :], response[end:]
    mine, theirs = _NEXT_NUMBER.match(rest), _NEXT_NUMBER.match(after)
    if mine and theirs and mine[1] != theirs[1]:
        return 0
    head = raw[: quote.ends[size - 1]]
    words = len(WORD.findall(head[label_length(head) :]))
    if words < (FEWEST_WORDS - whole_line):
        return 0
    if _COMMENT.match(rest):
        return at + size
    copy = _follow(quote, raw, there, size, at + size)
    step = bool(_LINE_END.match(after) and _NEXT_PART.match(rest))
    enough = step or (size >= FIRST * len(quote.text) and copy.copied >= CERTAIN * len(quote.text))
    return copy.end if enough and not copy.lost_number else 0


def head_places(raw: str, response: str) -> list[Span]:
    """Where the copy of a quote starts whose first words alone are in the response as written, and
    where the last words of it end that were found again.
    """
    quote, there = fold_once(raw), fold_once(response)
    if len(quote.text) > LONGEST:
        raw = raw[: quote.ends[LONGEST - 1]]
        quote = Folded(quote.text[:LONGEST], quote.starts[:LONGEST], quote.ends[:LONGEST])
    size = _longest_head(quote.text, there.text)
    if size < SHORTEST_LINE:
        return []
    sizes = [n for n in range(size, 1, -1) if not splits_word(raw, quote.ends[n - 1])]
    spans = []
    for at in islice(occurrences(quote.text[:size], there.text), TRIED):
        if end := _accepted(raw, quote, response, there, at, sizes):
            spans.append(there.original(at, end))
    return spans[:PLACES]
