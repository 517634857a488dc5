"""Find an error quote in a response as a reflector writes it: not always letter for letter.

In order: exact; folded (white space, Unicode forms, dashes, quote marks, Markdown, LaTeX, dropped
`<<...>>` annotations, case); an ellipsis in the middle; fuzzy, above a threshold. The kind is
recorded. Whatever was folded, offsets are characters of the original response.
"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from rapidfuzz import fuzz

Span = tuple[int, int]

DROP, DROP_ON = 1.0, 0.1  # fuzzy matching: cost of the first and each further letter left out
ADD, ADD_ON = 1.0, 0.5  # ... and put in by the quote
MIN_PART = 2  # folded characters: shorter pieces of a quote match anywhere


@dataclass(frozen=True)
class Match:
    """Where a quote is: its characters [start, end) in the response, how it was found, and in how
    many places it could have been.
    """

    span: Span
    kind: str
    candidates: int


_DASHES = dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe58\ufe63\uff0d", "-")
_QUOTES = dict.fromkeys("\u2018\u2019\u201a\u201b\u2032`\u00b4", "'") | dict.fromkeys(
    "\u201c\u201d\u201e\u201f\u2033\u00ab\u00bb", '"'
)
_SIGNS = dict.fromkeys("\u00d7\u22c5\u00b7\u2217\u2022", "*") | dict.fromkeys(
    "\u00f7\u2215\u2044", "/"
)
_FOLDED = _DASHES | _QUOTES | _SIGNS

# What is said differently without meaning anything else. `drop` is left out; the others stand for
# one sign.
_MARKUP = re.compile(
    r"""(?P<drop>
        <<[^<>\n]*>>                             # GSM8K's calculator annotation
      | \\[()\[\],;:!>]                          # LaTeX delimiters and thin spaces
      | \\(?:left|right|quad|qquad|displaystyle)(?![A-Za-z])
      | \\ (?=\s|$) | (?<!\\)\$+ | ~(?=[\d\\])
      | \*\*|__                                  # Markdown: strong, then emphasis at word edges
      | (?<![\w*])[*_](?=\w) | (?<=\w)[*_](?![\w*=])(?!\s*[\d(])
      | (?m:^\#{1,6}\s) | (?m:^\s*[-*>]\s(?=\S))
      | `+ | [\u200b-\u200d\u2060\ufeff\u00ad] | \s+
      | (?<=\d),(?=\d{3}(?!\d))                  # thousands
    )
    | (?P<times>\\times(?![A-Za-z])|\\cdot(?![A-Za-z])|\\\*)
    | (?P<over>\\div(?![A-Za-z]))
    | (?P<frac>\\[dt]frac(?![A-Za-z]))
    | (?P<escaped>\\[%$&\#_{}])
    | (?P<dots>\u2026)
    """,
    re.VERBOSE,
)
_MEANT = {"times": "*", "over": "/", "frac": "\\frac", "dots": "..."}


@dataclass(frozen=True)
class Folded:
    """Folded text, and for each of its characters the characters [start, end) of the original."""

    text: str
    starts: Sequence[int]
    ends: Sequence[int]

    def original(self, start: int, end: int) -> Span:
        return self.starts[start], self.ends[end - 1]


def _clusters(text: str, start: int, end: int):
    """Each character with the combining marks after it: [start, end) in `text`."""
    at = start
    while at < end:
        after = at + 1
        while after < end and unicodedata.combining(text[after]):
            after += 1
        yield at, after
        at = after


def fold(text: str, annotations: bool = False) -> Folded:
    """`text` without what models change when they quote; calculator annotations are kept if asked
    for. Linear in its length.
    """
    out: list[str] = []
    starts: list[int] = []
    ends: list[int] = []

    def put(folded: str, start: int, end: int) -> None:
        out.append(folded)
        starts.extend([start] * len(folded))
        ends.extend([end] * len(folded))

    def plain(start: int, end: int) -> None:
        for a, b in _clusters(text, start, end):
            known = _FOLDED.get(text[a:b])
            put(
                unicodedata.normalize("NFKC", text[a:b]).casefold() if known is None else known,
                a,
                b,
            )

    at = 0
    for found in _MARKUP.finditer(text):
        plain(at, found.start())
        at = found.end()
        kind = found.lastgroup or "drop"
        if annotations and found.group().startswith("<<"):
            plain(found.start(), at)
        elif kind == "escaped":
            put(found.group()[1:].replace("$", ""), found.start(), at)
        elif kind != "drop":
            put(_MEANT[kind], found.start(), at)
    plain(at, len(text))
    return Folded("".join(out), starts, ends)


def _places(part: str, text: str) -> list[int]:
    """Starts of all occurrences, overlapping ones too."""
    places, at = [], text.find(part) if part else -1
    while at >= 0:
        places.append(at)
        at = text.find(part, at + 1)
    return places


def _best_bounded(spans: Sequence[Span], text: str) -> list[Span]:
    """Those of `spans` that are cut out most cleanly: whole lines before spans that start a line or
    sentence, before spans that cut no word or number.
    """

    def cuts(before: str, after: str) -> bool:
        return before.isalnum() and after.isalnum() and before.isdigit() == after.isdigit()

    def rank(start: int, end: int) -> int:
        before, after = text[:start].rstrip(" \t"), text[end:].lstrip(" \t.")
        if (start > 0 and cuts(text[start - 1], text[start])) or (
            end < len(text) and cuts(text[end - 1], text[end])
        ):
            return 3
        opens = not before or before[-1] in "\n.!?;"
        return 2 - opens - (opens and (not after or after[0] == "\n"))

    ranks = [rank(*span) for span in spans]
    return [span for span, r in zip(spans, ranks, strict=True) if r == min(ranks)]


_WORD = re.compile(r"\d+(?:[.,]\d+)*|[^\W\d_]+")


def _line(text: str, start: int, end: int) -> Span:
    """The lines that [start, end) touches."""
    after = text.find("\n", end)
    return text.rfind("\n", 0, start) + 1, len(text) if after < 0 else after


def _supported(spans: Sequence[Span], response: str, quote: str, rest: str) -> Span:
    """The candidate whose line, or else whose neighbouring lines, share most words and numbers with
    the rest of the reflection; the first where neither tells.
    """
    said = set(_WORD.findall(rest.casefold())) - set(_WORD.findall(quote.casefold()))
    lines = [_line(response, *span) for span in spans]
    wider = [_line(response, max(0, a - 1), min(len(response), b + 1)) for a, b in lines]
    for places in (lines, wider):
        shared = [said & set(_WORD.findall(response[a:b].casefold())) for a, b in places]
        scores = [len(words) for words in shared]
        if scores.count(max(scores)) == 1:
            return spans[scores.index(max(scores))]
    return spans[0]


def _choose(spans: Sequence[Span], kind: str, quote: str, response: str, rest: str) -> Match | None:
    if not spans:
        return None
    spans = _best_bounded(spans, response)
    span = spans[0] if len(spans) == 1 else _supported(spans, response, quote, rest)
    return Match(span, kind, len(spans))


_ELLIPSIS = re.compile(r"\s*(?:\[\s*)?(?:\.{3,}|\u2026)(?:\s*\])?\s*")
_MARKS = r"""\s"'`*\u2018\u2019\u201c\u201d\u201e\u00ab\u00bb"""
_WRAPPED = re.compile(rf"""^[{_MARKS}]+|(?<=[{_MARKS}])[.,;:]$|[{_MARKS}]+[.,;:]?$""")


def _folded_places(quote: str, folded: Folded) -> list[Span]:
    """Occurrences of a folded quote; a full stop or the like that the quote puts at its end may be
    missing.
    """
    for part in dict.fromkeys((quote, quote.rstrip(".,;:!?"))):
        if len(part) >= MIN_PART and (places := _places(part, folded.text)):
            return [folded.original(p, p + len(part)) for p in places]
    return []


def _ellipsis_places(quote: str, folded: Folded) -> list[Span]:
    """Occurrences of the parts of a quote with something left out, in order; of each first part the
    nearest continuation.
    """
    parts = [fold(part).text for part in _ELLIPSIS.split(quote)]
    parts = [part.strip("\"'") for part in parts if len(part) >= MIN_PART]
    if not parts or not _ELLIPSIS.search(quote):
        return []
    spans = []
    for start in _places(parts[0], folded.text):
        end = start + len(parts[0])
        for part in parts[1:]:
            at = folded.text.find(part, end)
            end = at + len(part) if at >= 0 else -1
            if end < 0:
                break
        if end > 0:
            spans.append((start, end))
    nearest = {end: start for start, end in spans}  # of several starts before one end the last
    return [folded.original(start, end) for end, start in nearest.items()]


def nearest_substring(quote: str, text: str) -> tuple[int, int, float]:
    """Substring [start, end) of `text` that `quote` most likely is a copy of, and the cost of it.

    Semi-global alignment with affine gaps (Gotoh 1982): a wrong letter costs 1; gaps are cheap to
    extend, since models leave out or put in whole words. But quote letters *before* the first
    copied one cost 1 each: a start is not given up to save a gap.
    """
    letters_C = np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32)
    ramp_C = np.arange(len(letters_C) + 1)
    cost_C = np.full(len(ramp_C), np.inf)  # best alignment of quote[:i] ending at text[:j]
    origin_C = ramp_C.copy()  # and where in the text it starts
    gap_C, gap_origin_C = cost_C.copy(), ramp_C.copy()  # the same, ending in skipped quote letters
    for i, letter in enumerate(map(ord, quote)):
        begun_C = np.where(cost_C <= i, origin_C, ramp_C)
        match_C = np.append(np.inf, (np.minimum(cost_C, i) + 0.0)[:-1] + (letters_C != letter))
        match_origin_C = np.append(0, begun_C[:-1])
        stay_C = gap_C + ADD_ON <= cost_C + ADD
        gap_origin_C = np.where(stay_C, gap_origin_C, origin_C)
        gap_C = np.where(stay_C, gap_C + ADD_ON, cost_C + ADD)
        origin_C = np.where(match_C <= gap_C, match_origin_C, gap_origin_C)
        cost_C = np.minimum(match_C, gap_C)
        key_C = cost_C - DROP_ON * ramp_C  # skipped text letters: the best start of such a gap
        low_C = np.minimum.accumulate(key_C)
        holder_C = np.maximum.accumulate(np.where(key_C == low_C, ramp_C, 0))
        skip_C = np.append(np.inf, low_C[:-1] + DROP + DROP_ON * ramp_C[:-1])
        origin_C = np.where(skip_C < cost_C, origin_C[np.append(0, holder_C[:-1])], origin_C)
        cost_C = np.minimum(skip_C, cost_C)
    end = int(cost_C.argmin())
    return int(origin_C[end]), end, float(cost_C[end])


def _fuzzy_place(quote: str, folded: Folded, threshold: float) -> tuple[float, Span] | None:
    """Cost and place of the best fuzzy occurrence of a folded quote, if it is similar enough."""
    if len(quote) < 2 * MIN_PART:
        return None
    rough = fuzz.partial_ratio_alignment(quote, folded.text, score_cutoff=threshold - 20)
    if rough is None:
        return None
    margin = len(quote) // 2 + 8
    low = max(0, rough.dest_start - margin)
    start, end, cost = nearest_substring(quote, folded.text[low : rough.dest_end + margin])
    if end <= start or 100 * (1 - cost / len(quote)) < threshold:
        return None
    return cost, folded.original(low + start, low + end)


def _fuzzy(quote: str, response: str, threshold: float) -> list[Span]:
    """The best fuzzy occurrence, with calculator annotations left out on both sides or on neither;
    its start is moved to the start of the word.
    """
    found = [
        place
        for keep in (False, True)
        if (place := _fuzzy_place(fold(quote, keep).text, fold(response, keep), threshold))
    ]
    if not found:
        return []
    _, (start, end) = min(found)
    while start > 0 and response[start - 1].isalnum() and response[start].isalnum():
        start -= 1
    return [(start, end)]


def find_quote(quote: str, response: str, rest: str = "", threshold: float = 80.0) -> Match | None:
    """The place of `quote` in `response`, or None.

    `rest` is what else the reflector wrote: it decides between several places where it can. Fuzzy
    matches need a similarity of `threshold` (0..100; above 100 switches them off).
    """
    if not quote.strip():
        return None
    spans = [(p, p + len(quote)) for p in _places(quote, response)]
    if spans:
        return _choose(spans, "exact", quote, response, rest)
    folded, bare = fold(response), _WRAPPED.sub("", quote)
    for candidate in dict.fromkeys((quote, bare)):
        if found := _folded_places(fold(candidate).text, folded):
            return _choose(found, "normalised", quote, response, rest)
    if found := _ellipsis_places(bare, folded):
        return _choose(found, "ellipsis", quote, response, rest)
    found = _fuzzy(_ELLIPSIS.sub(" ", bare), response, threshold)
    return _choose(found, "fuzzy", quote, response, rest)
