"""Distillation: one pass over the score table; the student moves toward the teacher at the
supervised tokens alone.

The losses of `losses/token_losses.py` are summed over the supervised tokens of an optimizer step
and divided by the sum of their token weights (see `token_weights`), which is their number where all
are 1. So the result does not depend on how the step is cut into batches, nor on the number of
processes.

Dimension names: N supervised token.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from transformers import PreTrainedModel

from rosd_core.distill.optimizer_state import load_state, state_tensors
from rosd_core.distill.processes import (
    largest_over_processes,
    process_number,
    share_of_process,
    sum_over_processes,
)
from rosd_core.distill.targets import Batch, Objective, Rows, collate, split_step
from rosd_core.errors import RosdError
from rosd_core.forward.packing import can_pack, pack, packed_attention, packed_hidden, padded_hidden
from rosd_core.losses.head import head_of
from rosd_core.losses.head_loss import head_loss
from rosd_core.losses.token_losses import LOSSES, LossSettings, TokenInputs
from rosd_core.models.loading import low_precision


@dataclass(frozen=True)
class Optimization:
    """How the weights move: `params.yaml: distill`; the names are the same there."""

    learning_rate: float
    warmup_steps: int
    betas: tuple[float, float]
    weight_decay: float
    grad_clip: float
    batch_tokens: int
    autocast: str
    gradient_checkpointing: bool

    def rate(self, step: int) -> float:
        """The learning rate of a step (from 0): constant after a linear warm-up."""
        warm = min(1.0, (step + 1) / self.warmup_steps) if self.warmup_steps else 1.0
        return self.learning_rate * warm


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


class _Sums:
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


def batch_loss(
    model: PreTrainedModel, batch: Batch, objective: Objective, pad_id: int, scale: float = 1.0
) -> tuple[torch.Tensor, Ratios]:
    """Loss of a batch, summed over its supervised tokens and divided by `scale`, and its ratios.
    Within packed_attention where the model can be packed.
    """
    if can_pack(model):
        hidden_NH = packed_hidden(model, pack(batch.student))
    else:
        hidden_NH = padded_hidden(model, batch.student, pad_id)
    targets = collate(batch, objective, hidden_NH.device)
    head = None if objective.teacher is None else objective.teacher.head
    loss, student_N = head_loss(hidden_NH, head_of(model), targets, objective.settings, head, scale)
    student_N, start_N = student_N.float(), batch.column("student_logp", hidden_NH.device)
    tokens = TokenInputs(student_N, targets.behaviour_N, targets.weight_N)
    return loss, Ratios(tokens, (student_N - start_N).exp())


def train(
    model: PreTrainedModel,
    steps: Iterable[Rows],
    start: Path | None,
    objective: Objective,
    optimization: Optimization,
    pad_id: int,
    seed: int,
) -> tuple[list[StepLog], dict[str, torch.Tensor]]:
    """One pass over the steps, continuing the optimizer state in the folder `start`; dropout
    depends on `seed` and the number of the process.

    Returns a log per step and the optimizer's tensors. Raises RosdError if the loss is not finite.
    """
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    names = [name for name, _ in named]
    optimizer = torch.optim.AdamW(
        [p for _, p in named], lr=optimization.learning_rate, betas=optimization.betas,
        weight_decay=optimization.weight_decay,
    )  # fmt: skip
    done, logs = load_state(optimizer, names, start), []
    torch.manual_seed(seed + process_number())
    model.train()
    if optimization.gradient_checkpointing:
        model.activation_checkpointing_enable({"use_reentrant": False})
    with packed_attention(model) if can_pack(model) else nullcontext():
        for number, rows in enumerate(steps, done):
            logs.append(_step(model, optimizer, rows, number, objective, optimization, pad_id))
    if optimization.gradient_checkpointing:
        model.activation_checkpointing_disable()
    model.eval()
    return logs, state_tensors(optimizer, names, done + len(logs))


def _step(
    model: PreTrainedModel,
    optimizer: torch.optim.Optimizer,
    rows: Rows,
    number: int,
    objective: Objective,
    optimization: Optimization,
    pad_id: int,
) -> StepLog:
    """One optimizer step over `rows`."""
    tokens = sum(len(row["positions"]) for row in rows)
    scale = sum(float(row["token_weight"].sum()) for row in rows)
    sums = _Sums(objective.settings)
    group = optimizer.param_groups[0]
    group["lr"] = rate = optimization.rate(number)
    for batch in share_of_process(
        split_step(rows, optimization.batch_tokens, objective.live_teacher)
    ):
        with low_precision(model.device.type, optimization.autocast):
            loss, ratios = batch_loss(model, batch, objective, pad_id, scale)
        loss.backward()
        sums.add(loss.detach().double() * scale, ratios)
    norm = _summed_gradients(group["params"], optimization.grad_clip)
    sums.reduce()
    loss = sums.totals[0].item() / scale
    importance, clipped, stale_kl = (sums.totals[1:] / tokens).tolist()
    if not math.isfinite(loss + norm):
        raise RosdError(
            f"step {number}: loss {loss}, gradient norm {norm}: training diverged; "
            "lower distill.learning_rate."
        )
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    largest = sums.largest.item()
    return StepLog(number, loss, tokens, rate, norm, importance, clipped, largest, stale_kl)


def _summed_gradients(parameters: Sequence[torch.Tensor], clip: float) -> float:
    """Sum the gradients over the processes and clip them; their norm before that."""
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    sum_over_processes(p.grad for p in parameters if p.grad is not None)
    return torch.nn.utils.clip_grad_norm_(parameters, clip).item()


def log_rows(logs: Sequence[StepLog]) -> list[Mapping[str, float]]:
    """The logs as rows of curves/<iteration>.csv."""
    return [asdict(log) for log in logs]


def summarise(logs: Sequence[StepLog], rows: int) -> dict[str, float]:
    """Metrics of an epoch: steps, tokens, first and last loss, and the staleness over its steps."""

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
    }
