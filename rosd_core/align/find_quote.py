"""Find an error quote in a response as a reflector writes it: not always letter for letter.

In order: exact; folded (white space, Unicode forms, dashes, quote marks, Markdown, LaTeX, dropped
`<<...>>` annotations, case); an ellipsis in the middle; fuzzy, above a threshold. The kind is
recorded. Whatever was folded, offsets are characters of the original response.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from rapidfuzz import fuzz
from rapidfuzz.distance import Levenshtein

Span = tuple[int, int]

DROP, DROP_ON = 1.0, 0.1  # fuzzy matching: cost of the first and each further letter left out
ADD, ADD_ON = 1.0, 0.5  # ... and put in by the quote
FIRST_WRONG = 1.05  # ... of a wrong first letter: rather a right one with letters left out after it
MISSING_DIGIT = 0.5  # ... of a number of three digits or more that is there but for one of them
MISSING = 1.5  # ... and of a number of the quote that is not there
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
      | (?<!\w)(?:\*\*|__)(?=\S)                 # Markdown: strong, then emphasis at word edges
      | (?<=\S)(?:\*\*|__)(?!\w)
      | (?<![\w*])[*_](?=\w) | (?<=\w)[*_](?=[\s.,;:!?)\"']|$)(?!\s*[\d.(])
      | (?m:^\#{1,6}\s) | (?m:^\s*[-*>]\s(?=\S))
      | `+ | [\u200b-\u200d\u2060\ufeff\u00ad]
      | (?<=\d),(?=\d{3}(?!\d))                  # thousands
    )
    | (?P<space>\s+)
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


def fold(text: str, annotations: bool = False, spaces: bool = False) -> Folded:
    """`text` without what models change when they quote.

    White space goes, but for one space between two digits (`1 1/2` is not `11/2`); with `spaces`
    one stays everywhere. Calculator annotations go unless `annotations`. Linear in the length.
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
            if known is None:
                raised = unicodedata.decomposition(text[a]).startswith("<super>")
                known = "^" * raised + unicodedata.normalize("NFKC", text[a:b]).casefold()
            put(known, a, b)

    at = 0
    for found in _MARKUP.finditer(text):
        plain(at, found.start())
        at = found.end()
        kind = found.lastgroup or "drop"
        if annotations and found.group().startswith("<<"):
            plain(found.start(), at)
        elif kind == "space":
            digits = (
                text[found.start() - 1 : found.start()].isdigit() and text[at : at + 1].isdigit()
            )
            if spaces or digits:
                put(" ", found.start(), at)
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


CUT = 3  # the worst rank: a word or number is cut


def _splits(text: str, at: int) -> bool:
    """Whether a word or a number goes on across position `at`."""
    before, after = text[max(0, at - 2) : at], text[at : at + 2]
    if not before or not after:
        return False
    if before[-1].isalnum() and after[0].isalnum():
        return before[-1].isdigit() == after[0].isdigit()
    number = len(before) == 2 and before[0].isdigit() and before[1] in ".," and after[0].isdigit()
    return number or (
        before[-1].isdigit() and len(after) == 2 and after[0] in ".," and after[1].isdigit()
    )


def _rank(text: str, start: int, end: int) -> int:
    """How cleanly [start, end) is cut out: 0 a whole line, 1 from the start of a line or sentence,
    2 between words, 3 within a word or number.
    """
    if _splits(text, start) or _splits(text, end):
        return CUT
    before, after = (
        text[max(0, start - 8) : start].rstrip(" \t"),
        text[end : end + 8].lstrip(" \t."),
    )
    opens = start == 0 or (before != "" and before[-1] in "\n.!?;")
    closes = end >= len(text) or after[:1] in ("", "\n")
    return 2 - opens - (opens and closes)


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
        words = {
            p: len(said & set(_WORD.findall(response[slice(*p)].casefold()))) for p in set(places)
        }
        scores = [words[place] for place in places]
        if scores.count(max(scores)) == 1:
            return spans[scores.index(max(scores))]
    return spans[0]


def _choose(spans: Sequence[Span], kind: str, quote: str, response: str, rest: str) -> Match:
    """The best of several places: most alike as they stand, most cleanly cut, best supported."""
    if len(spans) > 1:
        flat = " ".join(quote.split())
        alike = {
            text: fuzz.ratio(flat, " ".join(text.split()))
            for text in {response[a:b] for a, b in spans}
        }
        spans = [s for s in spans if alike[response[slice(*s)]] == max(alike.values())]
        ranks = [_rank(response, *span) for span in spans]
        spans = [span for span, rank in zip(spans, ranks, strict=True) if rank == min(ranks)]
    span = spans[0] if len(spans) == 1 else _supported(spans, response, quote, rest)
    return Match(span, kind, len(spans))


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


def nearest_substring(quote: str, text: str) -> tuple[int, int, float]:
    """Substring [start, end) of `text` that `quote` most likely is a copy of, and the cost of it.

    Semi-global alignment with affine gaps (Gotoh 1982): a wrong letter costs 1; gaps are cheap to
    extend, since models leave out or put in whole words. But quote letters *before* the first
    copied one cost 1 each: a start is not given up to save a gap.
    """
    letters_C = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    ramp_C = np.arange(len(letters_C) + 1)
    cost_C = np.full(len(ramp_C), np.inf)  # best alignment of quote[:i] ending at text[:j]
    origin_C = ramp_C.copy()  # and where in the text it starts
    gap_C, gap_origin_C = cost_C.copy(), ramp_C.copy()  # the same, ending in skipped quote letters
    for i, letter in enumerate(map(ord, quote)):
        wrong = 1.0 if i else FIRST_WRONG
        begun_C = np.where(cost_C <= i, origin_C, ramp_C)
        match_C = np.append(np.inf, np.minimum(cost_C, i)[:-1] + wrong * (letters_C != letter))
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


LONGEST_FUZZY = 1000  # characters of a quote that are aligned letter by letter


LINES_TRIED = 200  # ... and lines of the response that are looked at one by one
_NUMBER = re.compile(r"\d+(?:\.\d+)?")


def _numbers(text: str) -> Counter[str]:
    return Counter(_NUMBER.findall(text))


def _one_digit_off(number: str, others: Iterable[str]) -> bool:
    return len(number) >= 3 and any(Levenshtein.distance(number, x) == 1 for x in others)


def _lines_with(numbers: Counter[str], response: str) -> list[Span]:
    """The first lines that have all these numbers."""
    found, start = [], 0
    for line in response.split("\n")[: LINES_TRIED if numbers else 0]:
        if not numbers - _numbers(fold(line, spaces=True).text):
            found.append((start, start + len(line)))
        start += len(line) + 1
    return found[:8]


def _fuzzy_places(quote: str, response: str, threshold: float) -> list[Span]:
    """The place that is most similar, if it is similar enough: in the whole response or, if it has
    not the quote's numbers there, in a line that has. A number that is missing costs more than a
    wrong letter. Calculator annotations are left out on both sides or on neither.
    """
    found: list[tuple[float, Span]] = []

    def look(wanted: str, numbers: Counter[str], annotations: bool, low: int, high: int) -> bool:
        """Add the best place in [low, high) of the response; whether it has all numbers."""
        folded = fold(response[low:high], annotations, spaces=True)
        rough = fuzz.partial_ratio_alignment(
            wanted, folded.text, score_cutoff=max(0.0, threshold - 30)
        )
        if rough is None:
            return False
        margin = len(wanted) // 2 + 8
        a = max(0, rough.dest_start - margin)
        start, end, cost = nearest_substring(wanted, folded.text[a : rough.dest_end + margin])
        if end <= start:
            return False
        x, y = folded.original(a + start, a + end)
        x, y = _whole_words(response, *_longest_line(quote, response, x + low, y + low))
        there = _numbers(fold(response[x:y], annotations, spaces=True).text)
        missing = numbers - there
        for number, times in missing.items():
            cost += times * (MISSING_DIGIT if _one_digit_off(number, there) else MISSING)
        one_letter = cost <= 1 and bool(numbers) and not missing  # enough in `A: 5`
        if one_letter or 100 * (1 - cost / len(wanted)) >= threshold:
            found.append((cost, (x, y)))
        return not missing

    for annotations in (False, True):
        wanted = fold(quote, annotations, spaces=True).text.strip()[:LONGEST_FUZZY]
        numbers = _numbers(wanted)
        if threshold > 100 or len(wanted) < (MIN_PART if numbers else 2 * MIN_PART):
            continue
        if not look(wanted, numbers, annotations, 0, len(response)):
            for low, high in _lines_with(numbers, response):
                look(wanted, numbers, annotations, low, high)
    return [span for _, span in sorted(found)[:1]]


def _longest_line(quote: str, response: str, start: int, end: int) -> Span:
    """Of a place that goes over several lines, for a quote that does not, the longest piece."""
    if "\n" in quote.strip():
        return start, end
    pieces = []
    for line in response[start:end].split("\n"):
        pieces.append((len(line), start))
        start += len(line) + 1
    length, start = max(pieces)
    return start, start + length


def _whole_words(text: str, start: int, end: int) -> Span:
    """The span grown to whole words and numbers, without white space at its edges."""
    while start < end and text[start].isspace():
        start += 1
    while start > 0 and _splits(text, start):
        start -= 1
    while end < len(text) and _splits(text, end):
        end += 1
    return start, end


def find_quote(quote: str, response: str, rest: str = "", threshold: float = 80.0) -> Match | None:
    """The place of `quote` in `response`, or None.

    `rest` is what else the reflector wrote: it decides between several places where it can. Fuzzy
    matches need a similarity of `threshold` (0..100; above 100 switches them off). A place that
    cuts a word or number is taken only where no later kind of match is cleaner.
    """
    if not quote.strip():
        return None
    bare, cut = _unwrapped(quote), None
    folded = fold(response)
    kinds: tuple[tuple[str, Callable[[], list[Span]]], ...] = (
        ("exact", lambda: [(p, p + len(quote)) for p in _places(quote, response)]),
        ("normalised", lambda: _folded_places(fold(quote).text, folded)),
        ("normalised", lambda: _folded_places(fold(bare).text, folded)),
        ("ellipsis", lambda: _ellipsis_places(bare, folded, response)),
        ("fuzzy", lambda: _fuzzy_places(_ELLIPSIS.sub(" ", bare), response, threshold)),
    )
    for kind, places in kinds:
        if found := places():
            match = _choose(found, kind, quote, response, rest)
            if _rank(response, *match.span) < CUT:
                return match
            cut = cut or match
    return cut
