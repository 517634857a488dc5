"""The weight of each supervised token in the loss: one function per name, in `TOKEN_WEIGHTS`.

| distill.token_weight | weight w_n of the n-th supervised token of a row, n = 0 .. N - 1 |
| --- | --- |
| one | 1 |
| decay | 2^(-n / token_decay) |
| entropy | 1 for the share token_share of highest student_entropy, else 0 |
| divergence | 1 for the share token_share of highest divergence, else 0 |
| entropy_or_divergence | the same of h + d - h d, both columns scaled to 0..1 within the row |

The loss of an optimizer step is sum(w_n l_n) / sum(w_n) over its supervised tokens, with the row
weight r within l_n: a mask does not shrink the step, and with `one` it is the mean over tokens.
Weights depend on the row alone, not on batches, steps, shards or processes.

Dimension names: N supervised token.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rosd_core.errors import RosdError

Row = Mapping[str, Any]  # of the table scores, see row_types.ScoreRow


@dataclass(frozen=True)
class TokenWeightSettings:
    """`params.yaml: distill`, as far as token weights read it; the names are the same there."""

    token_weight: str
    token_decay: float
    token_share: float


def one(row: Row, settings: TokenWeightSettings) -> np.ndarray:
    """1 for every token, (N,)."""
    return np.ones(len(row["positions"]))


def decay(row: Row, settings: TokenWeightSettings) -> np.ndarray:
    """2^(-n / token_decay), (N,): half the weight every token_decay supervised tokens, counted from
    the first supervised one, where the error begins with `align.mask: quote`.

    Early tokens carry nearly all of the gain, since later ones follow a prefix that the teacher
    would not have written: arXiv 2606.22600 (IW-OPD), 2605.07725 (SOD). Both weigh by the drift
    from the teacher; the half-life is ours.
    """
    return 0.5 ** (np.arange(len(row["positions"])) / settings.token_decay)


def entropy(row: Row, settings: TokenWeightSettings) -> np.ndarray:
    """The tokens at which the student is least sure, (N,). Source: arXiv 2604.14084 (TIP)."""
    return highest(stored(row, "student_entropy"), settings.token_share)


def divergence(row: Row, settings: TokenWeightSettings) -> np.ndarray:
    """The tokens at which the teacher disagrees most, (N,)."""
    return highest(stored(row, "divergence"), settings.token_share)


def entropy_or_divergence(row: Row, settings: TokenWeightSettings) -> np.ndarray:
    """The tokens at which the student is unsure, or sure and the teacher disagrees, (N,): those of
    highest h + d - h d, with entropy h and divergence d scaled to 0..1.

    After arXiv 2604.14084 (TIP), which scales within a batch: here within the row.
    """
    h_N, d_N = (scaled(stored(row, name)) for name in ("student_entropy", "divergence"))
    return highest(h_N + d_N - h_N * d_N, settings.token_share)


def scaled(values_N: np.ndarray) -> np.ndarray:
    """The values moved and stretched to 0..1; 0 where all are equal."""
    low, high = values_N.min(), values_N.max()
    return (values_N - low) / (high - low) if high > low else np.zeros_like(values_N)


def highest(values_N: np.ndarray, share: float) -> np.ndarray:
    """1 for the max(1, round(share N)) highest values, else 0, (N,); the earlier of equal ones."""
    weight_N = np.zeros(len(values_N))
    most = max(1, round(share * len(values_N)))
    weight_N[np.argsort(-values_N, kind="stable")[:most]] = 1
    return weight_N


TOKEN_WEIGHTS: dict[str, Callable[[Row, TokenWeightSettings], np.ndarray]] = {
    "one": one,
    "decay": decay,
    "entropy": entropy,
    "divergence": divergence,
    "entropy_or_divergence": entropy_or_divergence,
}


def weighted(rows: Sequence[Row], settings: TokenWeightSettings) -> list[dict[str, Any]]:
    """The rows with `token_weight` (N,), in fp64. Raises RosdError where the table does not hold
    what the weight reads.
    """
    weigh = TOKEN_WEIGHTS[settings.token_weight]
    return [{**row, "token_weight": weigh(row, settings)} for row in rows]


def stored(row: Row, column: str) -> np.ndarray:
    """A column of the row, (N,) in fp64. Raises RosdError where nothing was scored."""
    if len(row[column]) != len(row["positions"]):
        raise RosdError(
            f"scores.parquet has no {column} of {row['rollout_id']}, which distill.token_weight "
            "reads: set score.targets to topk or hidden and align.teacher_context to another value "
            "than none, and run `rosd score` again; or set distill.token_weight to one or decay."
        )
    return np.asarray(row[column], dtype=np.float64)
