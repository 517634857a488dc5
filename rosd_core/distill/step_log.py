"""What each optimizer step did: its log, and the metrics of an epoch.

Dimension names: N supervised token.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import torch

from rosd_core.distill.processes import largest_over_processes, sum_over_processes
from rosd_core.losses.token_losses import LOSSES, LossSettings, TokenInputs


@dataclass(frozen=True)
class StepLog:
    """What one optimizer step did. `loss` in nats per supervised token, the mean by token weight;
    all else counts supervised tokens alike.

    mean_importance and clipped_share are of the importance that the loss applied, which corrects
    for temperature and top_p as well. largest_ratio and stale_kl say how far the student has moved
    since it sampled, by the drift S(y) / S'(y), both at temperature 1: its largest value, and
    KL(S' || S) in nats by the estimate drift - 1 - log drift (of tokens drawn from S'; with another
    temperature or top_p it weighs the tokens that were drawn).
    """

    step: int
    loss: float
    tokens: int
    learning_rate: float
    grad_norm: float
    mean_importance: float
    clipped_share: float
    largest_ratio: float
    stale_kl: float


@dataclass(frozen=True)
class Drift:
    """The student after the last step against the weights that sampled, on the rows of that step;
    the fields are those of StepLog.
    """

    largest_ratio: float
    clipped_share: float
    stale_kl: float

    def values(self) -> dict[str, float]:
        """By name."""
        return asdict(self)


@dataclass(frozen=True)
class Ratios:
    """What the loss saw of the sampled tokens, and the drift S(y) / S'(y) of the student from the
    weights that sampled, (N,).
    """

    tokens: TokenInputs
    drift_N: torch.Tensor

    @property
    def importance_N(self) -> torch.Tensor:
        """rho of the loss, unclipped."""
        return self.tokens.ratio_n


class Sums:
    """Sums over the tokens of a step, in fp64 and over all processes."""

    def __init__(self, settings: LossSettings) -> None:
        self.settings = settings
        self.totals = torch.zeros(4, dtype=torch.float64)  # loss, importance, clipped, KL
        self.largest = torch.zeros(1, dtype=torch.float64)

    def add(self, loss: torch.Tensor, ratios: Ratios) -> None:
        """A batch: its loss summed over tokens, and the ratios of its tokens."""
        drift_N, loss = ratios.drift_N.double().cpu(), loss.detach().double().cpu()
        importance = LOSSES[self.settings.loss].importance
        applied_N, clipped_N = importance(ratios.tokens, self.settings)
        kl_N = drift_N - 1 - drift_N.log()
        sums = [x.double().sum().cpu() for x in (applied_N, clipped_N, kl_N)]
        self.totals += torch.stack([loss, *sums])
        self.largest = torch.maximum(self.largest, drift_N.max())

    def reduce(self) -> None:
        """Sum over the processes; to be called once."""
        sum_over_processes([self.totals])
        largest_over_processes(self.largest)


def log_rows(logs: Sequence[StepLog]) -> list[Mapping[str, float]]:
    """The logs as rows of curves/<iteration>.csv."""
    return [asdict(log) for log in logs]


def summarise(logs: Sequence[StepLog], drift: Drift, rows: int) -> dict[str, float]:
    """Metrics of an epoch: steps, tokens, first and last loss, the staleness over its steps, the
    largest gradient norm, and the drift of the new weights (`last_`).
    """

    def mean(name: str) -> float:
        return sum(getattr(log, name) for log in logs) / len(logs)

    return {
        "rows": rows,
        "steps": len(logs),
        "supervised_tokens": sum(log.tokens for log in logs),
        "first_loss": logs[0].loss,
        "last_loss": logs[-1].loss,
        "mean_importance": mean("mean_importance"),
        "clipped_share": mean("clipped_share"),
        "largest_ratio": max(log.largest_ratio for log in logs),
        "stale_kl": mean("stale_kl"),
        "grad_norm": max(log.grad_norm for log in logs),
        **{f"last_{name}": value for name, value in drift.values().items()},
    }
