"""Numbers that no table may hold: not a number, infinity, and log-probabilities above 0."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rosd_core.errors import RosdError

ROUNDING = 1e-3  # nats that a log-probability may exceed 0 by
# log-probabilities of ids that a model may rule out (-inf)
MAY_BE_ZERO = {"support_logp", "student_top_logp", "teacher_top_logp"}


def refuse_bad_numbers(table: str, rows: pa.Table, file: Path | None = None) -> None:
    """Raises RosdError naming row and column of the first number that is infinite, not a number or,
    in a column of log-probabilities (`*_logp`), above 0 by more than rounding.
    """
    for name in rows.column_names:
        array = rows[name].combine_chunks()
        values = _leaves(array)
        if values is None:
            continue
        bad = ~np.isfinite(values)
        if name in MAY_BE_ZERO:
            bad &= values != -np.inf
        if name.endswith("_logp"):
            bad |= values > ROUNDING
        if bad.any():
            at = int(bad.argmax())
            row = {key: rows[key][_row_of(array, at)].as_py() for key in _keys(rows)}
            where = ", ".join(f"{key} {value}" for key, value in row.items())
            raise RosdError(
                f"{file or f'table {table}'}: {where}: column {name} holds {values[at]:g}. Numbers "
                "have to be finite, and log-probabilities at most 0: what made this one is broken "
                "(the weights, the engine or its precision, the grader), or the table is not as "
                "it was written. Look there and run the stage again."
            )


def _keys(rows: pa.Table) -> list[str]:
    """The columns that name a row."""
    names = [name for name in ("rollout_id", "problem_id") if name in rows.column_names]
    return names[:1] or rows.column_names[:1]


def _leaves(array: pa.Array) -> np.ndarray | None:
    """The floats of a column, however deep they lie in lists; None for other columns."""
    while pa.types.is_list(array.type):
        array = array.flatten()
    if not pa.types.is_floating(array.type):
        return None
    return pc.fill_null(array, 0.0).to_numpy(zero_copy_only=False)


def _row_of(array: pa.Array, leaf: int) -> int:
    """The row that a float of `_leaves` belongs to."""
    parents = []
    while pa.types.is_list(array.type):
        parents.append(pc.call_function("list_parent_indices", [array]))
        array = array.flatten()
    for indices in reversed(parents):
        leaf = indices[leaf].as_py()
    return leaf
