"""What engines and readers take and give.

Dimension names: N scored token, K support.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Scored:
    """A continuation to score at `positions`, ascending indices of `response_ids`; `support_ids`
    (N, K) are used instead of the own top K.
    """

    prompt_ids: Sequence[int]
    response_ids: Sequence[int]
    positions: Sequence[int]
    support_ids: np.ndarray | None = None

    def pack_row(self) -> tuple[Sequence[int], Sequence[int], Sequence[int]]:
        return self.prompt_ids, self.response_ids, self.positions


@dataclass(frozen=True)
class TokenLogprobs:
    """Per scored token: its own log-probability (N,), the support's ids and true log-probabilities
    (N, K), the tail (N,).
    """

    token_logp: np.ndarray
    support_ids: np.ndarray
    support_logp: np.ndarray
    tail_logp: np.ndarray
