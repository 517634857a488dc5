"""Rows that were made a second time, against those of the table."""

from array import array
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from rosd_core.tables.schemas import SCHEMAS

NOT_COMPARED = {
    "scores": (
        "teacher_hidden",  # rounded to bf16, after another batch
        # to look at: where two ids are nearly as likely, another batch may swap them
        "student_top_ids", "student_top_logp", "teacher_top_ids", "teacher_top_logp",
    )
}  # fmt: skip
# compared as probabilities: what is left of 1 is mostly rounding where the support holds nearly all
AS_PROBABILITIES = ("tail_logp",)


def differences(
    table: str,
    stored: Sequence[Mapping[str, Any]],
    again: Sequence[Mapping[str, Any]],
    tolerance: float,
) -> list[str]:
    """A line for each row that differs: its first column that does. Floats may differ by the
    tolerance, everything else may not. Rows are matched by rollout_id.
    """
    made = {row["rollout_id"]: row for row in again}
    lines = []
    for row in stored:
        name, other = row["rollout_id"], made.get(row["rollout_id"])
        if other is None:
            lines.append(f"row {name}: is not made again")
            continue
        columns = (f for f in SCHEMAS[table] if f.name not in NOT_COMPARED.get(table, ()))
        found = (_difference(f, row[f.name], other[f.name], tolerance) for f in columns)
        lines += [f"row {name}: {text}" for text in found if text][:1]
    return lines


def _difference(field: pa.Field, stored: Any, again: Any, tolerance: float) -> str | None:
    inner = field.type
    while pa.types.is_list(inner):
        inner = inner.value_type
    if stored is None or again is None or not pa.types.is_floating(inner):
        plain = again.tolist() if isinstance(again, np.ndarray | array) else again
        same = stored == (list(plain) if isinstance(plain, tuple) else plain)
        return None if same else f"{field.name} is another one"
    before_N = np.asarray(stored, dtype=np.float64).reshape(-1)
    after_N = np.asarray(again, dtype=np.float64).reshape(-1)
    if len(before_N) != len(after_N):
        return f"{field.name} has {len(before_N)} values, made again {len(after_N)}"
    if field.name in AS_PROBABILITIES:
        before_N, after_N = np.exp(before_N), np.exp(after_N)
    worst = float(np.abs(before_N - after_N).max(initial=0))
    return None if worst <= tolerance else f"{field.name} differs by up to {worst:.3g}"
