"""Find an error quote in a response. Reflectors do not always quote letter for letter.

Tried in order: exact; normalised (see `fold`), also without a step label; with an ellipsis in the
middle; the first words alone (see `heads`); what the quote has in quote marks; fuzzy, above a
threshold. Which of these matched is recorded. Offsets are always characters of the original
response.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import islice

from rapidfuzz import fuzz

from rosd_core.align.cuts import CUT, WORD, cut_rank, lines_of, occurrences
from rosd_core.align.effort import COMPARED, LONGEST_QUOTE, PLACES, Effort
from rosd_core.align.fold import Span, fold, fold_once
from rosd_core.align.fuzzy import MIN_PART, fuzzy_places
from rosd_core.align.heads import head_places
from rosd_core.align.variants import inner_quotes, unlabelled, unwrapped, with_opening


@dataclass(frozen=True)
class FoundQuote:
    """Where a quote is: its characters [start, end) in the response, how it matched (exact,
    normalised, ellipsis, fuzzy, head), and in how many places it could be. Of a `head` the start is
    known, and the quote may go on beyond the end.
    """

    span: Span
    match: str
    candidates: int


def _places(part: str, text: str) -> list[int]:
    """Starts of the first PLACES occurrences."""
    return list(islice(occurrences(part, text), PLACES)) if part else []


@lru_cache(maxsize=4096)
def _words(text: str, start: int, end: int) -> frozenset[str]:
    """The words and numbers of text[start:end], kept while quotes are searched in it."""
    return frozenset(WORD.findall(text[start:end].casefold()))


def _words_at(response: str, place: Span) -> frozenset[str]:
    """The words of some lines; of long ones the first, since the lines of two places overlap."""
    start, end = place
    return _words(response, start, min(end, start + 2 * COMPARED))


def _supported(spans: Sequence[Span], response: str, quote: str, rest: str) -> Span:
    """The candidate whose line, or else whose neighbouring lines, share most words and numbers with
    the rest of the reflection; the first where neither decides.
    """
    named = _words(rest, 0, len(rest)) - _words(quote, 0, len(quote))
    lines = [lines_of(response, *span) for span in spans]
    wider = [lines_of(response, max(0, a - 1), min(len(response), b + 1)) for a, b in lines]
    for places in (lines, wider):
        shared = {p: len(named & _words_at(response, p)) for p in set(places)}
        scores = [shared[place] for place in places]
        if scores.count(max(scores)) == 1:
            return spans[scores.index(max(scores))]
    return spans[0]


def _choose(spans: Sequence[Span], match: str, quote: str, response: str, rest: str) -> FoundQuote:
    """The best of several places: the most similar, then the most cleanly cut, then the best
    supported.
    """
    if len(spans) > 1:
        flat = " ".join(quote[:COMPARED].split())
        texts = [response[a : min(b, a + COMPARED)] for a, b in spans]
        similarity = {text: fuzz.ratio(flat, " ".join(text.split())) for text in set(texts)}
        highest = max(similarity.values())
        spans = [s for s, text in zip(spans, texts, strict=True) if similarity[text] == highest]
        ranks = [cut_rank(response, *span) for span in spans]
        spans = [span for span, rank in zip(spans, ranks, strict=True) if rank == min(ranks)]
    span = spans[0] if len(spans) == 1 else _supported(spans, response, quote, rest)
    return FoundQuote(span, match, len(spans))


_ELLIPSIS = re.compile(r"\[\s{0,3}(?:\.{3,}|\u2026)\s{0,3}\]|\.{3,}|\u2026")
LONGEST_GAP = 400  # characters that an ellipsis may stand for
MOST_PIECES = 64  # of a quote with ellipses; one with more is none


def _folded_places(quote: str, response: str) -> list[Span]:
    """Occurrences of a quote in another spelling; a full stop or the like that the quote puts at
    its end may be missing.
    """
    wanted, folded = fold_once(quote).text, fold_once(response)
    for part in dict.fromkeys((wanted, wanted.rstrip(".,;:!?"))):
        if len(part) >= MIN_PART and (places := _places(part, folded.text)):
            return [folded.original(p, p + len(part)) for p in places]
    return []


def _ellipsis_places(quote: str, response: str) -> list[Span]:
    """Occurrences of the parts of a quote with something left out, in order. Of several, those
    within one line, if there are any, then those that start as the quote does, letter for letter,
    and of these the shortest.
    """
    pieces = _ELLIPSIS.split(quote, MOST_PIECES)
    if not 1 < len(pieces) <= MOST_PIECES:
        return []
    parts = [part.strip("\"'") for part in (fold(piece).text for piece in pieces)]
    parts = [part for part in parts if len(part) >= MIN_PART]
    if not parts:
        return []
    folded, spans = fold_once(response), []
    for start in _places(parts[0], folded.text):
        end = start + len(parts[0])
        for part in parts[1:]:
            at = folded.text.find(part, end, end + LONGEST_GAP)
            end = at + len(part) if at >= 0 else -1
            if end < 0:
                break
        if end > 0:
            spans.append(folded.original(start, end))
    spans = [span for span in spans if "\n" not in response[slice(*span)]] or spans
    first = pieces[0].strip().lstrip("-*#> \"'")
    spans = [span for span in spans if response.startswith(first, span[0])] or spans
    shortest = min((b - a for a, b in spans), default=0)
    return [(a, b) for a, b in spans if b - a == shortest]


def _inner_places(quote: str, response: str) -> tuple[str, list[Span]]:
    """What most of the quote has in quote marks (`Step 3 says "..."`), and its occurrences."""
    for part in inner_quotes(quote):
        if 2 * len(part) >= len(quote) and (places := _folded_places(part, response)):
            return part, places
    return quote, []


def _changed_places(
    quote: str, response: str, threshold: float, effort: Effort
) -> tuple[str, str, list[Span]]:
    """The kind of match, the words and the places of a quote of which something is changed.

    The first words, where they decide, tell the start better than the similarity of the whole does,
    which in turn tells the end better.
    """
    bare = unwrapped(quote)
    heads = head_places(bare, response)
    if not heads and (words := unlabelled(bare)):
        heads = head_places(words, response)
    inner, places = _inner_places(quote, response) if not heads else (quote, [])
    if places:
        return "normalised", inner, places
    fuzzy = fuzzy_places(_ELLIPSIS.sub(" ", bare), response, threshold, effort)
    if not heads or {a for a, _ in fuzzy} == {a for a, _ in heads}:
        return "fuzzy", quote, fuzzy
    return "head", quote, heads


def _attempts(
    quote: str, response: str, threshold: float, effort: Effort
) -> Iterator[tuple[str, str, list[Span]]]:
    """The kind of match, the words and their places, of each attempt, in their order."""
    yield "exact", quote, [(p, p + len(quote)) for p in _places(quote, response)]
    if len(quote) > LONGEST_QUOTE:
        yield "normalised", quote, _folded_places(quote, response)
        quote = quote[:LONGEST_QUOTE]
    bare = unwrapped(quote)
    for words in dict.fromkeys((quote, bare, unlabelled(bare) or bare)):
        yield "normalised", quote, _folded_places(words, response)
    yield "ellipsis", quote, _ellipsis_places(bare, response)
    yield _changed_places(quote, response, threshold, effort)


def find_quote(
    quote: str, response: str, rest: str, threshold: float, effort: Effort | None = None
) -> FoundQuote | None:
    """The place of `quote` in `response`, or None.

    `rest` is what else the reflector wrote: it decides between several places where it can. Fuzzy
    matches need a similarity of `threshold` (0..100; above 100 switches them off). A place that
    cuts a word or number is taken only where no later attempt is cleaner. `effort` is what is left
    for the fuzzy search of all quotes of a reflection; None: this quote is the only one.
    """
    cut, effort = None, effort or Effort()
    attempts = _attempts(quote, response, threshold, effort) if quote.strip() else ()
    for match, words, spans in attempts:
        if not spans or (cut and match == "head"):
            continue
        found = _choose(spans, match, words, response, rest)
        if match != "exact":
            found = replace(found, span=with_opening(words, response, found.span))
        if cut_rank(response, *found.span) < CUT:
            return found
        cut = cut or found
    return cut
