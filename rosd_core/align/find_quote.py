"""Find an error quote in a response. Reflectors do not always quote letter for letter.

Tried in order: exact; normalised (see `fold`); with an ellipsis in the middle; fuzzy, above a
threshold. Which of these matched is recorded. Offsets are always characters of the original
response.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rapidfuzz import fuzz

from rosd_core.align.cuts import CUT, cut_rank, lines_of
from rosd_core.align.fold import Folded, Span, fold
from rosd_core.align.fuzzy import MIN_PART, fuzzy_places


@dataclass(frozen=True)
class FoundQuote:
    """Where a quote is: its characters [start, end) in the response, how it matched (exact,
    normalised, ellipsis, fuzzy), and in how many places it could be.
    """

    span: Span
    match: str
    candidates: int


def _places(part: str, text: str) -> list[int]:
    """Starts of all occurrences, overlapping ones too."""
    places, at = [], text.find(part) if part else -1
    while at >= 0:
        places.append(at)
        at = text.find(part, at + 1)
    return places


_WORD = re.compile(r"\d+(?:[.,]\d+)*|[^\W\d_]+")


def _supported(spans: Sequence[Span], response: str, quote: str, rest: str) -> Span:
    """The candidate whose line, or else whose neighbouring lines, share most words and numbers with
    the rest of the reflection; the first where neither decides.
    """
    named = set(_WORD.findall(rest.casefold())) - set(_WORD.findall(quote.casefold()))
    lines = [lines_of(response, *span) for span in spans]
    wider = [lines_of(response, max(0, a - 1), min(len(response), b + 1)) for a, b in lines]
    for places in (lines, wider):
        shared = {
            p: len(named & set(_WORD.findall(response[slice(*p)].casefold()))) for p in set(places)
        }
        scores = [shared[place] for place in places]
        if scores.count(max(scores)) == 1:
            return spans[scores.index(max(scores))]
    return spans[0]


def _choose(spans: Sequence[Span], match: str, quote: str, response: str, rest: str) -> FoundQuote:
    """The best of several places: the most similar, then the most cleanly cut, then the best
    supported.
    """
    if len(spans) > 1:
        flat = " ".join(quote.split())
        similarity = {
            text: fuzz.ratio(flat, " ".join(text.split()))
            for text in {response[a:b] for a, b in spans}
        }
        highest = max(similarity.values())
        spans = [s for s in spans if similarity[response[slice(*s)]] == highest]
        ranks = [cut_rank(response, *span) for span in spans]
        spans = [span for span, rank in zip(spans, ranks, strict=True) if rank == min(ranks)]
    span = spans[0] if len(spans) == 1 else _supported(spans, response, quote, rest)
    return FoundQuote(span, match, len(spans))


_ELLIPSIS = re.compile(r"\[\s{0,3}(?:\.{3,}|\u2026)\s{0,3}\]|\.{3,}|\u2026")
_MARKS = " \t\r\n\"'`*\u2018\u2019\u201c\u201d\u201e\u00ab\u00bb"
LONGEST_GAP = 400  # characters that an ellipsis may stand for


def _unwrapped(quote: str) -> str:
    """The quote without quote marks, backticks and emphasis around it, and a full stop outside."""
    bare = quote.strip(_MARKS)
    inner = bare[:-1] if bare[-1:] in (".", ",", ";", ":") else bare
    return inner.rstrip(_MARKS) if inner.rstrip(_MARKS) != inner else bare


def _folded_places(quote: str, folded: Folded) -> list[Span]:
    """Occurrences of a folded quote; a full stop or the like that the quote puts at its end may be
    missing.
    """
    for part in dict.fromkeys((quote, quote.rstrip(".,;:!?"))):
        if len(part) >= MIN_PART and (places := _places(part, folded.text)):
            return [folded.original(p, p + len(part)) for p in places]
    return []


def _ellipsis_places(quote: str, folded: Folded, response: str) -> list[Span]:
    """Occurrences of the parts of a quote with something left out, in order. Of several, those
    within one line, if there are any, and of these the shortest.
    """
    parts = [fold(part).text for part in _ELLIPSIS.split(quote)]
    parts = [part.strip("\"'") for part in parts if len(part) >= MIN_PART]
    if not parts or not _ELLIPSIS.search(quote):
        return []
    spans = []
    for start in _places(parts[0], folded.text):
        end = start + len(parts[0])
        for part in parts[1:]:
            at = folded.text.find(part, end, end + LONGEST_GAP)
            end = at + len(part) if at >= 0 else -1
            if end < 0:
                break
        if end > 0:
            spans.append(folded.original(start, end))
    within = [span for span in spans if "\n" not in response[slice(*span)]] or spans
    shortest = min((b - a for a, b in within), default=0)
    return [(a, b) for a, b in within if b - a == shortest]


def find_quote(quote: str, response: str, rest: str, threshold: float) -> FoundQuote | None:
    """The place of `quote` in `response`, or None.

    `rest` is what else the reflector wrote: it decides between several places where it can. Fuzzy
    matches need a similarity of `threshold` (0..100; above 100 switches them off). A place that
    cuts a word or number is taken only where no later attempt is cleaner.
    """
    if not quote.strip():
        return None
    bare, cut = _unwrapped(quote), None
    folded = fold(response)
    attempts: tuple[tuple[str, Callable[[], list[Span]]], ...] = (
        ("exact", lambda: [(p, p + len(quote)) for p in _places(quote, response)]),
        ("normalised", lambda: _folded_places(fold(quote).text, folded)),
        ("normalised", lambda: _folded_places(fold(bare).text, folded)),
        ("ellipsis", lambda: _ellipsis_places(bare, folded, response)),
        ("fuzzy", lambda: fuzzy_places(_ELLIPSIS.sub(" ", bare), response, threshold)),
    )
    for match, attempt in attempts:
        if spans := attempt():
            found = _choose(spans, match, quote, response, rest)
            if cut_rank(response, *found.span) < CUT:
                return found
            cut = cut or found
    return cut
