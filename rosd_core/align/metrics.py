"""Counts and shares of an alignment table, from rows as they come."""

from collections import Counter
from collections.abc import Iterable, Mapping

from rosd_core.align.fold import Span
from rosd_core.align.rows import error_spans
from rosd_core.tables.row_types import AlignmentRow

MATCHES = ("exact", "normalised", "ellipsis", "fuzzy", "head", "none")
COUNTED = (
    "rollouts", "supervised", "first_quote_not_found", "skipped_no_success", "wrong_reflected",
    "quotes", *(f"quote_{match}" for match in MATCHES), "quotes_cut",
)  # fmt: skip


class AlignmentCounts:
    """What the metrics need of the rows that were added."""

    def __init__(self) -> None:
        self.count: Counter[str] = Counter()
        self.starts: list[float] = []

    def add(self, rows: Iterable[AlignmentRow], true_errors: Mapping[str, Span]) -> None:
        """Count rows. `true_errors` holds the span of the first error of wrong ones where the world
        knows it.
        """
        for row in rows:
            self._add(row)
            if row["kind"] == "wrong" and row["skip_reason"] != "no_success":
                self._add_wrong(row, true_errors)

    def _add(self, row: AlignmentRow) -> None:
        count = self.count
        count["rollouts"] += 1
        count["tokens"] += row["response_tokens"]
        count["skipped_no_success"] += row["skip_reason"] == "no_success"
        if row["status"] == "supervised":
            count["supervised"] += 1
            count["supervised_tokens"] += len(row["positions"])
            if row["policy"] == "quote":
                self.starts.append((row["first_token"] or 0) / row["response_tokens"])

    def _add_wrong(self, row: AlignmentRow, true_errors: Mapping[str, Span]) -> None:
        count, first = self.count, min(error_spans(row), default=None)
        count["wrong_reflected"] += 1
        count["first_quote_not_found"] += first_quote_lost(row)
        count["quote_found"] += first is not None
        count["quotes_cut"] += row["quotes_cut"]
        for quote in row["quotes"] or []:
            count["quotes"] += 1
            count[f"quote_{quote['match']}"] += 1
            count["ambiguous"] += quote["match"] != "none" and quote["candidates"] > 1
        if row["rollout_id"] in true_errors:
            count["known"] += 1
            count["true"] += first == true_errors[row["rollout_id"]]

    def metrics(self) -> dict[str, float | None]:
        """Metrics of the stage; a share of nothing is None. `quote_true_share` is the share of the
        rows with a known error whose earliest quote is exactly that.
        """
        count = self.count
        found = count["quotes"] - count["quote_none"]
        return {
            **{name: count[name] for name in COUNTED},
            "quote_ambiguous_share": _share(count["ambiguous"], found),
            "quote_found_share": _share(count["quote_found"], count["wrong_reflected"]),
            "quote_true_share": _share(count["true"], count["known"]),
            "mean_start": _share(sum(self.starts), len(self.starts)),
            "supervised_token_share": _share(count["supervised_tokens"], count["tokens"]),
        }


def first_quote_lost(row: AlignmentRow) -> bool:
    """Whether a later quote was found but the first one, with which the error begins, was not."""
    matches = [quote["match"] for quote in row["quotes"] or []]
    return matches[:1] == ["none"] and set(matches) != {"none"}


def _share(part: float, whole: int) -> float | None:
    return part / whole if whole else None
