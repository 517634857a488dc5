"""Fuzzy matching: the place of a response that a quote most likely is a copy of.

Dimension names: C character of the text.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from rapidfuzz import fuzz
from rapidfuzz.distance import Levenshtein

from rosd_core.align.cuts import own_edges, whole_words
from rosd_core.align.effort import LONGEST_QUOTE, Effort, letters_aligned
from rosd_core.align.fold import Span, fold, fold_once

MIN_PART = 2  # folded characters: a shorter piece of a quote would match anywhere
LINES_TRIED = 200  # lines of the response that are looked at one by one, and so many characters
LONGEST_LINES = 50_000

# Costs of the alignment; a wrong letter costs 1.
DROP, DROP_ON = 1.0, 0.1  # the first and each further letter that the quote leaves out
ADD, ADD_ON = 1.0, 0.5  # the first and each further letter that the quote adds
FIRST_WRONG = 1.05  # a wrong first letter: prefers a right one with letters left out after it
MISSING = 1.5  # a number of the quote that is not there
MISSING_DIGIT = 0.5  # the same, where a number of three digits or more differs in one of them

_NUMBER = re.compile(r"\d+(?:\.\d+)?")


def nearest_substring(quote: str, text: str) -> tuple[int, int, float]:
    """Substring [start, end) of `text` that `quote` most likely is a copy of, and the cost of it.

    Semi-global alignment with affine gaps (Gotoh 1982): a wrong letter costs 1; gaps are cheap to
    extend, since models leave out or put in whole words. But quote letters *before* the first
    copied one cost 1 each: a start is not given up to save a gap.
    """
    letters_C = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    ramp_C = np.arange(len(letters_C) + 1)
    drop_C = DROP_ON * ramp_C
    cost_C = np.full(len(ramp_C), np.inf)  # best alignment of quote[:i] ending at text[:j]
    origin_C = ramp_C.copy()  # and where in the text it starts
    gap_C, gap_origin_C = cost_C.copy(), ramp_C.copy()  # the same, ending in skipped quote letters
    match_C, skip_C = cost_C.copy(), cost_C.copy()  # inf at text[:0]
    match_origin_C, skip_origin_C = np.zeros_like(ramp_C), np.zeros_like(ramp_C)
    for i, letter in enumerate(map(ord, quote)):
        wrong = 1.0 if i else FIRST_WRONG
        match_C[1:] = np.minimum(cost_C[:-1], i) + wrong * (letters_C != letter)
        match_origin_C[1:] = np.where(cost_C <= i, origin_C, ramp_C)[:-1]
        on_C, new_C = gap_C + ADD_ON, cost_C + ADD
        gap_origin_C = np.where(on_C <= new_C, gap_origin_C, origin_C)
        gap_C = np.minimum(on_C, new_C)
        origin_C = np.where(match_C <= gap_C, match_origin_C, gap_origin_C)
        cost_C = np.minimum(match_C, gap_C)
        key_C = cost_C - drop_C  # skipped text letters: the best start of such a gap
        low_C = np.minimum.accumulate(key_C)
        holder_C = np.maximum.accumulate(ramp_C * (key_C == low_C))
        skip_C[1:] = low_C[:-1] + DROP + drop_C[:-1]
        skip_origin_C[1:] = origin_C[holder_C[:-1]]
        origin_C = np.where(skip_C < cost_C, skip_origin_C, origin_C)
        cost_C = np.minimum(skip_C, cost_C)
    end = int(cost_C.argmin())
    return int(origin_C[end]), end, float(cost_C[end])


def _numbers(text: str) -> Counter[str]:
    return Counter(_NUMBER.findall(text))


def _one_digit_off(number: str, others: Iterable[str]) -> bool:
    return len(number) >= 3 and any(Levenshtein.distance(number, x) == 1 for x in others)


@lru_cache(maxsize=4)
def _numbers_of_lines(response: str) -> Sequence[tuple[Span, Counter[str]]]:
    """The first lines of a response and their numbers."""
    found, start = [], 0
    for line in response[:LONGEST_LINES].split("\n")[:LINES_TRIED]:
        found.append(((start, start + len(line)), _numbers(fold(line, spaces=True).text)))
        start += len(line) + 1
    return found


def _lines_with(numbers: Counter[str], response: str) -> list[Span]:
    """The first lines that have all these numbers."""
    lines = _numbers_of_lines(response) if numbers else ()
    return [line for line, there in lines if not numbers - there][:8]


@dataclass(frozen=True)
class _Wanted:
    """A folded quote, its numbers, and whether calculator annotations were kept in it."""

    quote: str
    folded: str
    numbers: Counter[str]
    annotations: bool


def _best_place(
    wanted: _Wanted, response: str, low: int, high: int, threshold: float, effort: Effort
) -> tuple[float, Span, bool] | None:
    """The most similar place within [low, high) of the response: its cost, its characters, and
    whether all numbers of the quote are in it. None where nothing is roughly similar, and where the
    effort is spent.
    """
    if not effort.spend(len(wanted.folded), high - low):
        return None
    folded = fold_once(response[low:high], wanted.annotations, True)
    cutoff = max(0.0, threshold - 30)
    rough = fuzz.partial_ratio_alignment(wanted.folded, folded.text, score_cutoff=cutoff)
    if rough is None:
        return None
    margin = len(wanted.folded) // 2 + 8
    offset = max(0, rough.dest_start - margin)
    window = folded.text[offset : rough.dest_end + margin]
    start, end, cost = nearest_substring(wanted.folded, window)
    if end <= start:
        return None
    a, b = folded.original(offset + start, offset + end)
    if b - a > 2 * LONGEST_QUOTE:  # nearly all of it folds to nothing
        return None
    span = whole_words(response, *own_edges(wanted.quote, response, a + low, b + low))
    there = _numbers(fold(response[slice(*span)], wanted.annotations, spaces=True).text)
    missing = wanted.numbers - there
    for number, times in missing.items():
        cost += times * (MISSING_DIGIT if _one_digit_off(number, there) else MISSING)
    return cost, span, not missing


def _similar_enough(cost: float, complete: bool, wanted: _Wanted, threshold: float) -> bool:
    """Whether a place counts as a match. One letter of difference is too much for the threshold in
    a quote as short as `A: 5`; it is accepted where the quote has numbers and all are there.
    """
    one_letter = cost <= 1 and bool(wanted.numbers) and complete
    return one_letter or 100 * (1 - cost / len(wanted.folded)) >= threshold


def fuzzy_places(quote: str, response: str, threshold: float, effort: Effort) -> list[Span]:
    """The most similar place, if it is similar enough: in the whole response or, if the quote's
    numbers are not all there, in a line that has them. A missing number costs more than a wrong
    letter. Calculator annotations are left out on both sides or on neither.
    """
    matches: list[tuple[float, Span]] = []
    for annotations in (False, True) if "<<" in quote + response else (False,):
        folded = fold(quote, annotations, spaces=True).text.strip()
        folded = folded[: letters_aligned(len(response))]
        wanted = _Wanted(quote, folded, _numbers(folded), annotations)
        shortest = MIN_PART if wanted.numbers else 2 * MIN_PART
        if threshold > 100 or len(folded) < shortest:
            continue
        whole = _best_place(wanted, response, 0, len(response), threshold, effort)
        places = [whole]
        if whole is None or not whole[2]:
            lines = _lines_with(wanted.numbers, response)
            places += [_best_place(wanted, response, *line, threshold, effort) for line in lines]
        matches += [
            (place[0], place[1])
            for place in places
            if place and _similar_enough(place[0], place[2], wanted, threshold)
        ]
    return [span for _, span in sorted(matches)[:1]]
