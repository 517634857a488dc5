"""Alignment: error quote -> characters of the response -> first supervised token.

The map from tokens to characters comes from the *sampled* ids, never from encoding text again: a
sampled sequence need not be the one that the tokenizer would choose, and BPE glues the space before
a word to the word.
"""

import codecs
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from rosd_core.errors import RosdError

Span = tuple[int, int]


@cache
def _byte_of() -> dict[str, int]:
    """The character that byte-level BPE writes for each byte, inverted.

    Printable bytes stand for themselves; the n-th other byte is written as chr(256 + n). Source:
    GPT-2's encoder.
    """
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in printable]
    return {chr(b): b for b in printable} | {chr(256 + n): b for n, b in enumerate(others)}


def byte_pieces(tokens: Sequence[str], special: frozenset[str]) -> list[bytes] | None:
    """The bytes of each byte-level token, b"" for special ones; None where a token is not
    byte-level.
    """
    table = _byte_of()
    try:
        return [b"" if token in special else bytes(table[c] for c in token) for token in tokens]
    except KeyError:
        return None


def spans_of_bytes(pieces: Sequence[bytes]) -> tuple[str, list[Span]]:
    """Decoded text and the characters [start, end) that each token contributes to, even by a single
    byte.

    Two tokens that share one character both span it; a token without bytes spans nothing.
    """
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    text, spans = "", []
    for piece in pieces:
        start = len(text)
        text += decoder.decode(piece)
        pending = bool(decoder.getstate()[0])
        spans.append((start, len(text) + pending) if piece else (start, start))
    return text + decoder.decode(b"", final=True), spans


def token_spans(
    ids: Sequence[int],
    response: str,
    tokens: Sequence[str],
    special: frozenset[str],
    decode: Callable[[Sequence[int]], str],
) -> list[Span]:
    """Character span of each sampled token in `response`.

    Byte-level tokenizers: one pass over the tokens' bytes. Others: the growth of the decoded
    prefix, token by token. Either way the text must come out as `response`. Raises RosdError where
    it does not.
    """
    pieces = byte_pieces(tokens, special)
    if pieces is not None:
        text, spans = spans_of_bytes(pieces)
        if text == response:
            return spans
    ends = [len(decode(ids[: t + 1])) for t in range(len(ids))]
    if decode(ids) != response:
        raise RosdError(
            "response_ids do not decode to the stored response: "
            "was the tokenizer changed since rollout?"
        )
    return list(zip([0, *ends], ends, strict=False))


def first_token(spans: Sequence[Span], start: int) -> int:
    """Index of the first token that contributes to a character at or after `start` (len(spans) if
    there is none).
    """
    return next((t for t, (s, e) in enumerate(spans) if e > max(start, s)), len(spans))


def find_quote(quote: str, response: str) -> tuple[Span | None, int]:
    """Span of the first occurrence of `quote` and the number of occurrences (overlapping ones
    count).
    """
    places = [i for i in range(len(response)) if response.startswith(quote, i)] if quote else []
    return ((places[0], places[0] + len(quote)) if places else None), len(places)


def align_row(
    reflection: dict[str, Any], rollout: dict[str, Any], spans: Sequence[Span], not_found: str
) -> dict[str, Any]:
    """One row of `alignments`. Eligibility is decided here, once: later stages obey `status`.

    A correct rollout is supervised everywhere; a wrong one from the first token of its quote to the
    end, end token included; where the quote is not in the response the policy `not_found` says:
    `drop` the row or take it `whole`.
    """
    row: dict[str, Any] = {
        "rollout_id": rollout["rollout_id"],
        "problem_id": rollout["problem_id"],
        "kind": reflection["kind"],
        "match": None,
        "candidates": None,
        "char_start": None,
        "char_end": None,
        "first_token": None,
        "response_tokens": len(rollout["response_ids"]),
        "policy": "drop",
        "status": "skipped",
        "skip_reason": None,
    }
    if reflection["status"] != "ok":
        return row | {"skip_reason": reflection["skip_reason"] or reflection["status"]}
    if reflection["kind"] == "correct":
        return row | {"first_token": 0, "policy": "all", "status": "supervised"}
    span, count = find_quote(reflection["quote"], rollout["response"])
    row |= {"match": "exact" if span else "none", "candidates": count}
    if span:
        place = {
            "char_start": span[0],
            "char_end": span[1],
            "first_token": first_token(spans, span[0]),
        }
        return row | place | {"policy": "quote", "status": "supervised"}
    if not_found == "whole":
        return row | {"first_token": 0, "policy": "whole", "status": "supervised"}
    return row | {"skip_reason": "quote_not_found"}


def alignment_metrics(rows: Sequence[dict[str, Any]], truth: dict[str, Span]) -> dict[str, float]:
    """Counts and shares of an alignment table.

    `truth` holds the known span of the first error of wrong rollouts, where the world knows it;
    `exact_share` is the share of reflected wrong rollouts whose quote starts and ends just there.
    """
    supervised = [r for r in rows if r["status"] == "supervised"]
    wrong = [r for r in rows if r["kind"] == "wrong" and r["skip_reason"] != "no_success"]
    known = [r for r in wrong if r["rollout_id"] in truth]
    exact = [r for r in known if (r["char_start"], r["char_end"]) == truth[r["rollout_id"]]]
    found = [r for r in wrong if r["match"] == "exact"]
    tokens = sum(r["response_tokens"] for r in rows)
    return {
        "rollouts": len(rows),
        "supervised": len(supervised),
        "skipped_no_success": sum(r["skip_reason"] == "no_success" for r in rows),
        "wrong_reflected": len(wrong),
        "quote_found_share": len(found) / max(1, len(wrong)),
        "quote_ambiguous_share": sum(r["candidates"] > 1 for r in found) / max(1, len(found)),
        "quote_exact_share": len(exact) / max(1, len(known)),
        "supervised_token_share": sum(r["response_tokens"] - r["first_token"] for r in supervised)
        / max(1, tokens),
    }
