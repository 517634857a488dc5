"""Where the teacher first disagrees with the student (`align.mask: divergence`).

A wrong response may be supervised from the first token at which student S and teacher T disagree,
in place of the error quote:

    onset = min {n : JSD_1/2(S_n, T_n) > threshold}        (nats, at most ln 2)

No model runs in align, so align supervises all tokens of such a row and marks it with the policy
`divergence`; here, after scoring, the tokens before the onset are dropped. This is the only place
where fewer tokens are supervised than align says.

Dimension names: N supervised token, H hidden.
"""

from collections.abc import Sequence
from typing import Any, cast

import numpy as np

from rosd_core.tables.row_types import Floats, ScoreRow

POLICY = "divergence"  # of alignments: supervised from the onset on
# the columns of a score row that hold a value per supervised token; empty where not stored
TOKEN_COLUMNS = (
    "positions",
    "behaviour_logp",
    "student_logp",
    "teacher_logp",
    "support_ids",
    "support_logp",
    "tail_logp",
    "divergence",
    "student_entropy",
    "student_top_ids",
    "student_top_logp",
    "teacher_top_ids",
    "teacher_top_logp",
)


def onset(divergence_N: Floats, threshold: float) -> int | None:
    """The index of the first of N divergences that exceeds the threshold (nats); None if none."""
    above = np.flatnonzero(np.asarray(divergence_N) > threshold)
    return int(above[0]) if len(above) else None


def cut_before(row: ScoreRow, first: int) -> None:
    """Drop the first `first` supervised tokens of a row from all its columns, in place; of
    `teacher_hidden` their share of its N x H numbers.
    """
    tokens, hidden = len(row["positions"]), row["teacher_hidden"]
    columns = cast(dict[str, Any], row)
    for name in TOKEN_COLUMNS:
        columns[name] = columns[name][first:]
    if hidden is not None:
        row["teacher_hidden"] = hidden[first * (len(hidden) // tokens) :]


def start_at_onset(rows: Sequence[ScoreRow], threshold: float) -> None:
    """Supervise scored rows of the policy `divergence` from their onset on, in place. A row without
    one loses all its tokens and gets the status `no_divergence`; distill leaves it out.
    """
    for row in rows:
        if row["policy"] != POLICY or row["status"] != "scored":
            continue
        first = onset(row["divergence"], threshold)
        if first is None:
            first, row["status"] = len(row["positions"]), "no_divergence"
        cut_before(row, first)
