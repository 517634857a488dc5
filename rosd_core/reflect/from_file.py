"""Reflections that come from elsewhere: written by people, or by another model.

The table (JSON lines, CSV or Parquet) has the columns

| column | content |
| --- | --- |
| rollout_id, response | as in rollouts.parquet |
| quote | the error quote, or a list of them; empty for correct responses |
| idea | the corrective idea; why it is right, for correct responses |
"""

from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Any

import polars as pl

from rosd_core.errors import RosdError
from rosd_core.reflect.parse import first_quotes, format_reflection
from rosd_core.reflect.rows import Peer, new_row
from rosd_core.tables.hashing import text_hash
from rosd_core.tables.row_types import ReflectionRow

COLUMNS = ("rollout_id", "response", "quote", "idea")


def rows_of_file(
    parts: Iterable[pl.DataFrame], file: str, peers: Sequence[Peer], responses: Mapping[str, bytes]
) -> list[ReflectionRow]:
    """One row per rollout, in the order of `peers`. The table comes in parts; rollouts that it does
    not have are skipped as `not_in_file`. `responses` are the `text_hashes` of the rollouts.

    Raises RosdError, naming the file and the row, for a missing column, an unknown or repeated
    rollout and a response that is another text now.
    """
    by_id: dict[str, dict[str, Any]] = {}
    number, columns = 0, set()
    for part in parts:
        columns |= set(part.columns)
        _refuse_missing(file, COLUMNS[:2], part.columns)
        for row in part.iter_rows(named=True):
            rollout_id = row["rollout_id"]
            _refuse_other_rollouts(f"{file}: row {number}", rollout_id, row, responses)
            if rollout_id in by_id:
                raise RosdError(f"{file}: row {number}: rollout {rollout_id} is there twice.")
            by_id[rollout_id] = {name: row.get(name) for name in COLUMNS[2:]}
            number += 1
    if not number:
        raise RosdError(f"{file}: the file has no row.")
    _refuse_missing(file, COLUMNS, columns)
    return [_row(peer, by_id.get(peer["rollout_id"])) for peer in peers]


def _refuse_missing(file: str, needed: Sequence[str], columns: Container[str]) -> None:
    if missing := [name for name in needed if name not in columns]:
        raise RosdError(
            f"{file}: the column {missing[0]} is missing; needed are: {', '.join(COLUMNS)}."
        )


def text_hashes(rows: Iterable[tuple[str, str]]) -> dict[str, bytes]:
    """A hash of each text, by its name: enough to see whether it is another one."""
    return {name: text_hash(text) for name, text in rows}


def _refuse_other_rollouts(
    place: str, rollout_id: str, row: Mapping[str, Any], responses: Mapping[str, bytes]
) -> None:
    if rollout_id not in responses:
        raise RosdError(f"{place}: there is no rollout {rollout_id!r} in this iteration.")
    text = row["response"]
    if not isinstance(text, str) or text_hash(text) != responses[rollout_id]:
        raise RosdError(
            f"{place}: the response of {rollout_id} is not the one in rollouts.parquet; the file "
            "was written for other rollouts."
        )


def _row(peer: Mapping[str, Any], written: Mapping[str, Any] | None) -> ReflectionRow:
    row = new_row(**{**peer, "skip_reason": "not_in_file"})
    if written is None:
        return row
    kept, repairs = first_quotes(_texts(written["quote"]) if peer["kind"] == "wrong" else [])
    quotes, idea = list(kept), next(iter(_texts(written["idea"])), None)
    row["quotes"], row["idea"], row["repairs"], row["skip_reason"] = quotes, idea, repairs, None
    row["raw"] = "".join(format_reflection(q, "") for q in quotes[:-1]) + format_reflection(
        quotes[-1] if quotes else None, idea or ""
    )
    row["status"] = "no_idea" if idea is None else "ok"
    if idea is not None and peer["kind"] == "wrong" and not quotes:
        row["status"] = "no_quote"
    return row


def _texts(value: str | Sequence[str] | None) -> list[str]:
    """The texts of a cell that holds one, several or none."""
    cells = [value] if isinstance(value, str) else list(value or [])
    return [text for text in cells if text and text.strip()]
