"""Alignment: error quotes -> characters of the response -> supervised tokens.

Whether and where a response is distilled is decided here, once; later stages obey.
"""

import statistics
from collections.abc import Sequence
from typing import Any

import numpy as np

from rosd_core.align.find_quote import Match, Span, find_quote
from rosd_core.reflect.parse import without_quotes


def token_range(spans_T2: np.ndarray, span: Span) -> tuple[int, int]:
    """Tokens [first, end) that contribute at least a byte to the characters [start, end) of `span`.

    Both are the number of tokens where no token does.
    """
    start, end = span
    touches_T = (spans_T2[:, 1] > start) & (spans_T2[:, 0] < max(end, start + 1))
    touches_T &= spans_T2[:, 1] > spans_T2[:, 0]
    touching = np.flatnonzero(touches_T)
    if not len(touching):
        return len(spans_T2), len(spans_T2)
    return int(touching[0]), int(touching[-1]) + 1


def end_of_step(response: str, char: int) -> int:
    """End of the line that holds character `char`: a step of a solution is a line."""
    end = response.find("\n", char)
    return len(response) if end < 0 else end


def first_difference(response: str, peer: str) -> int:
    """Number of characters that `response` has in common with the start of `peer`."""
    shared = min(len(response), len(peer))
    return next((n for n in range(shared) if response[n] != peer[n]), shared)


def supervised_tokens(
    found: Sequence[Span], response: str, spans_T2: np.ndarray, policy: str
) -> list[int]:
    """Indices of the supervised tokens, given the characters of the errors.

    `first_to_end`: from the first error to the end, end token included (the paper's mask). `spans`:
    the quoted tokens alone. `first_to_end_of_step`: from the first error to the end of its line.
    """
    ordered = sorted(found)
    if policy == "spans":
        tokens = {t for span in ordered for t in range(*token_range(spans_T2, span))}
        return sorted(tokens)
    start = ordered[0][0]
    if policy == "first_to_end_of_step":
        return list(range(*token_range(spans_T2, (start, end_of_step(response, start)))))
    first, _ = token_range(spans_T2, (start, len(response)))
    return list(range(first, len(spans_T2)))


def _quote(text: str, match: Match | None) -> dict[str, Any]:
    """An entry of `alignments.quotes`."""
    start, end = match.span if match else (None, None)
    return {
        "quote": text,
        "match": match.kind if match else "none",
        "candidates": match.candidates if match else 0,
        "char_start": start,
        "char_end": end,
    }


def choose_context(
    reflection: dict[str, Any], has_reference: bool, wanted: str, mask: str
) -> tuple[str | None, str | None]:
    """What the teacher reads beside the problem (idea | peer | reference), or why it can read
    nothing.

    `reference` falls to a peer where the data bring no solution, as in OPSD. `none`: there is no
    teacher.
    """
    if wanted == "none":
        return "none", None
    if wanted == "reference" and has_reference:
        return "reference", None
    if wanted in ("peer", "reference"):
        if reflection["peer_id"] is not None:
            return "peer", None
        return None, "no_success" if reflection["kind"] == "wrong" else "lone_success"
    if reflection["status"] == "ok" or (mask == "all" and reflection["idea"] is not None):
        return "idea", None
    return None, reflection["skip_reason"] or reflection["status"]


def advantages(rewards: dict[str, dict[str, float]]) -> dict[str, float | None]:
    """Group-normalised advantage of each rollout, from problem_id -> rollout_id -> reward.

    A = (r - mean of the group) / standard deviation of the group; None where all rewards of a group
    are equal: nothing can be learnt from it. Source: arXiv 2402.03300 (GRPO), section 4.1.2.
    """
    found: dict[str, float | None] = {}
    for group in rewards.values():
        values = list(group.values())
        mean, spread = statistics.fmean(values), statistics.pstdev(values)
        for rollout_id, reward in group.items():
            found[rollout_id] = (reward - mean) / spread if spread > 0 else None
    return found


def align_row(
    reflection: dict[str, Any],
    rollout: dict[str, Any],
    peer: str | None,
    spans_T2: np.ndarray,
    *,
    has_reference: bool,
    group_all_success: bool,
    advantage: float | None,
    teacher_context: str,
    mask: str,
    wrong: str,
    correct: str,
    all_success: str,
    weight: str,
    quote_not_found: str,
    spans: str,
    fuzzy_threshold: float,
) -> dict[str, Any]:
    """One row of `alignments`.

    With `mask` all, and for correct rollouts, every token is supervised; with `quote`, a wrong one
    as `spans` says of the quotes that are found. `weight` of the row is one or its `advantage`.
    Where no quote is found, `quote_not_found` says what
    happens: `drop` the row, take it `whole`, or `from_first_difference` to the correct response
    `peer` of its group.
    """
    response, count = rollout["response"], len(spans_T2)
    row: dict[str, Any] = {
        "rollout_id": rollout["rollout_id"],
        "problem_id": rollout["problem_id"],
        "kind": reflection["kind"],
        "context": None,
        "quotes": None,
        "positions": [],
        "first_token": None,
        "response_tokens": count,
        "weight": 1.0 if weight == "one" else advantage,
        "policy": "drop",
        "status": "skipped",
        "skip_reason": None,
    }

    def supervise(positions: list[int], policy: str) -> dict[str, Any]:
        if not positions:
            return row | {"skip_reason": "no_token"}
        place = {"positions": positions, "first_token": positions[0], "context": context}
        return row | place | {"policy": policy, "status": "supervised"}

    context, reason = choose_context(reflection, has_reference, teacher_context, mask)
    if reflection["kind"] == "correct":
        if correct == "skip":
            reason = "correct"
        elif all_success == "skip" and group_all_success:
            reason = "all_success"
    elif wrong == "skip":
        reason = "wrong"
    if row["weight"] is None:
        reason = "no_contrast"
    if reason is not None:
        return row | {"skip_reason": reason}
    if reflection["kind"] == "correct" or mask == "all":
        return supervise(list(range(count)), "all")
    quotes = reflection["quotes"] or []
    if not quotes:
        return row | {"skip_reason": reflection["skip_reason"] or reflection["status"]}
    rest = without_quotes(reflection["raw"], quotes)
    matches = [find_quote(q, response, rest, fuzzy_threshold) for q in quotes]
    row["quotes"] = [_quote(*pair) for pair in zip(quotes, matches, strict=True)]
    found = [match.span for match in matches if match]
    if found:
        return supervise(supervised_tokens(found, response, spans_T2, spans), "quote")
    if quote_not_found == "whole":
        return supervise(list(range(count)), "whole")
    if quote_not_found == "from_first_difference" and peer is not None:
        start = first_difference(response, peer)
        first, _ = token_range(spans_T2, (start, len(response)))
        return supervise(list(range(max(0, min(first, count - 1)), count)), "from_first_difference")
    return row | {"skip_reason": "quote_not_found"}


def alignment_metrics(rows: Sequence[dict[str, Any]], truth: dict[str, Span]) -> dict[str, float]:
    """Counts and shares of an alignment table.

    `truth` holds the known span of the first error of wrong rollouts, where the world knows it;
    `quote_exact_share` is the share of reflected wrong rollouts whose earliest quote is just that.
    """
    supervised = [r for r in rows if r["status"] == "supervised"]
    wrong = [r for r in rows if r["kind"] == "wrong" and r["skip_reason"] != "no_success"]
    quotes = [q for r in wrong for q in r["quotes"] or []]
    found = [q for q in quotes if q["match"] != "none"]
    first = {r["rollout_id"]: min(_places(r), default=None) for r in wrong}
    known = [r for r in wrong if r["rollout_id"] in truth]
    starts = [r["first_token"] / r["response_tokens"] for r in supervised if r["policy"] == "quote"]
    kinds = ("exact", "normalised", "ellipsis", "fuzzy", "none")
    return {
        "rollouts": len(rows),
        "supervised": len(supervised),
        "skipped_no_success": sum(r["skip_reason"] == "no_success" for r in rows),
        "wrong_reflected": len(wrong),
        "quotes": len(quotes),
        **{f"quote_{kind}": sum(q["match"] == kind for q in quotes) for kind in kinds},
        "quote_found_share": sum(first[r["rollout_id"]] is not None for r in wrong)
        / max(1, len(wrong)),
        "quote_ambiguous_share": sum(q["candidates"] > 1 for q in found) / max(1, len(found)),
        "quote_true_share": sum(first[r["rollout_id"]] == truth[r["rollout_id"]] for r in known)
        / max(1, len(known)),
        "mean_start": sum(starts) / max(1, len(starts)),
        "supervised_token_share": sum(len(r["positions"]) for r in supervised)
        / max(1, sum(r["response_tokens"] for r in rows)),
    }


def _places(row: dict[str, Any]) -> list[Span]:
    return [(q["char_start"], q["char_end"]) for q in row["quotes"] or [] if q["match"] != "none"]
