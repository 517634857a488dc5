"""Counts and shares of an alignment table."""

from collections.abc import Mapping, Sequence

from rosd_core.align.fold import Span
from rosd_core.align.rows import error_spans
from rosd_core.tables.row_types import AlignmentRow

MATCHES = ("exact", "normalised", "ellipsis", "fuzzy", "head", "none")


def alignment_metrics(
    rows: Sequence[AlignmentRow], true_errors: Mapping[str, Span]
) -> dict[str, float | None]:
    """Metrics of the stage; a share of nothing is None. `true_errors` holds the span of the first
    error of wrong rollouts where the world knows it; `quote_true_share` is the share of these whose
    earliest quote is exactly that.
    """
    supervised = [r for r in rows if r["status"] == "supervised"]
    wrong = [r for r in rows if r["kind"] == "wrong" and r["skip_reason"] != "no_success"]
    first = {r["rollout_id"]: min(error_spans(r), default=None) for r in wrong}
    known = [r["rollout_id"] for r in wrong if r["rollout_id"] in true_errors]
    starts = [
        (r["first_token"] or 0) / r["response_tokens"] for r in supervised if r["policy"] == "quote"
    ]
    tokens = sum(r["response_tokens"] for r in rows)
    return {
        "rollouts": len(rows),
        "supervised": len(supervised),
        "first_quote_not_found": sum(first_quote_lost(r) for r in wrong),
        "skipped_no_success": sum(r["skip_reason"] == "no_success" for r in rows),
        "wrong_reflected": len(wrong),
        **_quote_metrics(wrong),
        "quote_found_share": _share(sum(span is not None for span in first.values()), len(wrong)),
        "quote_true_share": _share(sum(first[i] == true_errors[i] for i in known), len(known)),
        "mean_start": _share(sum(starts), len(starts)),
        "supervised_token_share": _share(sum(len(r["positions"]) for r in supervised), tokens),
    }


def first_quote_lost(row: AlignmentRow) -> bool:
    """Whether a later quote was found but the first one, with which the error begins, was not."""
    matches = [quote["match"] for quote in row["quotes"] or []]
    return matches[:1] == ["none"] and set(matches) != {"none"}


def _quote_metrics(wrong: Sequence[AlignmentRow]) -> dict[str, float | None]:
    quotes = [q for r in wrong for q in r["quotes"] or []]
    found = [q for q in quotes if q["match"] != "none"]
    return {
        "quotes": len(quotes),
        **{f"quote_{match}": sum(q["match"] == match for q in quotes) for match in MATCHES},
        "quotes_cut": sum(r["quotes_cut"] for r in wrong),
        "quote_ambiguous_share": _share(sum(q["candidates"] > 1 for q in found), len(found)),
    }


def _share(part: float, whole: int) -> float | None:
    return part / whole if whole else None
