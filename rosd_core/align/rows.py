"""Rows of the table `alignments`: eligibility, then the mask, then the fallback.

Dimension names: T token of the response.
"""

from array import array

import numpy as np

from rosd_core.align.contexts import needs_place
from rosd_core.align.effort import LETTERS, Effort
from rosd_core.align.eligibility import AlignSettings, eligibility
from rosd_core.align.find_quote import FoundQuote, find_quote
from rosd_core.align.mask import (
    end_of_step,
    fallback_tokens,
    skipped_tokens,
    supervised_tokens,
)
from rosd_core.align.weights import ROW_WEIGHTS, Group
from rosd_core.reflect.parse import without_quotes
from rosd_core.tables.row_types import AlignmentRow, QuotePlace, ReflectionRow, RolloutRow


def align_row(
    reflection: ReflectionRow,
    rollout: RolloutRow,
    peer: str | None,
    spans_T2: np.ndarray,
    group: Group,
    settings: AlignSettings,
) -> AlignmentRow:
    """One row of `alignments`. `peer` is the correct response that the reflector saw, which only
    settings that read it (`reads_peer`) need, `spans_T2` the characters of each token.

    Correct rollouts are supervised everywhere, and so are wrong ones with `mask: all`, and with
    `mask: divergence` until score finds where the teacher first disagrees. A wrong one with `mask:
    quote` is supervised as `spans` says of the quotes that are found, or as `quote_not_found` says
    where the first quote is not: where the error begins is unknown then. With `mask:
    quote_or_divergence` the latter, and one without any quote, is left to score, too.
    `spans: spans` alone does without the first, since it supervises nothing but quotes. A context
    that shows where the error is (`needs_place`) needs the first with every mask. Of all of them,
    the tokens that `skip_thinking` and `skip_first` name are left out.
    """
    row = _new_row(reflection, rollout, len(spans_T2), ROW_WEIGHTS[settings.weight](group))
    context, reason = eligibility(reflection, group, settings)
    if context is None:
        return _skip(row, reason)
    skipped_T = skipped_tokens(
        rollout["response"], spans_T2, settings.skip_thinking, settings.skip_first
    )
    whole, placed = _whole(reflection, settings), needs_place(context, reflection)
    if whole and not placed:
        return _supervise(row, context, ~skipped_T, whole)
    if not reflection["quotes"] and (placed or settings.fallback != "divergence"):
        return _skip(row, reflection["skip_reason"] or reflection["status"])
    quotes, cut = find_quotes(reflection, rollout["response"], settings.fuzzy_threshold)
    row["quotes"], row["quotes_cut"] = quotes or None, cut
    errors = _supervised_spans(row, rollout["response"])
    found = bool(quotes) and quotes[0]["match"] != "none"
    if placed and not found:
        return _skip(row, "first_quote_not_found" if errors else "quote_not_found")
    if whole:
        return _supervise(row, context, ~skipped_T, whole)
    if errors and (found or settings.spans == "spans"):
        error_T = supervised_tokens(errors, rollout["response"], spans_T2, settings.spans)
        return _supervise(row, context, error_T & ~skipped_T, "quote")
    fallback_T = fallback_tokens(settings.fallback, rollout["response"], peer, spans_T2)
    if fallback_T is None:
        return _skip(row, "first_quote_not_found" if errors else "quote_not_found")
    return _supervise(row, context, fallback_T & ~skipped_T, settings.fallback)


def _whole(reflection: ReflectionRow, settings: AlignSettings) -> str | None:
    """The policy of a row that is supervised everywhere, None for one whose mask has a start."""
    if reflection["kind"] == "correct":
        return "all"
    return settings.mask if settings.mask in ("all", "divergence") else None


def _new_row(
    reflection: ReflectionRow, rollout: RolloutRow, tokens: int, weight: float | None
) -> AlignmentRow:
    """A row that is neither supervised nor skipped yet."""
    return {
        "rollout_id": rollout["rollout_id"],
        "problem_id": rollout["problem_id"],
        "kind": reflection["kind"],
        "teacher_context": None,
        "quotes": None,
        "quotes_cut": 0,
        "positions": [],
        "first_token": None,
        "response_tokens": tokens,
        "weight": weight,
        "policy": "drop",
        "status": "skipped",
        "skip_reason": None,
    }


def _skip(row: AlignmentRow, reason: str | None) -> AlignmentRow:
    row["skip_reason"] = reason
    return row


def _supervise(row: AlignmentRow, context: str, chosen_T: np.ndarray, policy: str) -> AlignmentRow:
    positions = array("i", np.flatnonzero(chosen_T).astype(np.intc).tobytes())
    if not positions:
        return _skip(row, "no_token")
    row["teacher_context"], row["status"] = context, "supervised"
    row["positions"], row["first_token"], row["policy"] = positions, positions[0], policy
    return row


def find_quotes(
    reflection: ReflectionRow, response: str, threshold: float
) -> tuple[list[QuotePlace], int]:
    """Every quote of a reflection with its place in the response, and of how many the fuzzy search
    was cut short.
    """
    quotes = reflection["quotes"] or []
    rest = without_quotes(reflection["raw"] or "", quotes)
    places, left, cut = [], LETTERS, 0
    for quote in quotes:
        effort = Effort(left)
        places.append(_place(quote, find_quote(quote, response, rest, threshold, effort)))
        left, cut = effort.letters, cut + effort.cut
    return places, cut


def _place(quote: str, found: FoundQuote | None) -> QuotePlace:
    start, end = found.span if found else (None, None)
    return {
        "quote": quote,
        "match": found.match if found else "none",
        "candidates": found.candidates if found else 0,
        "char_start": start,
        "char_end": end,
    }


def error_spans(row: AlignmentRow) -> list[tuple[int, int]]:
    """The characters of the quotes that were found."""
    places = row["quotes"] or []
    return [
        (place["char_start"], place["char_end"])
        for place in places
        if place["char_start"] is not None and place["char_end"] is not None
    ]


def _supervised_spans(row: AlignmentRow, response: str) -> list[tuple[int, int]]:
    """The characters of the errors. A quote whose end is unknown goes to the end of its step."""
    matches = [place["match"] for place in row["quotes"] or [] if place["match"] != "none"]
    return [
        (start, end_of_step(response, end) if match == "head" else end)
        for match, (start, end) in zip(matches, error_spans(row), strict=True)
    ]
