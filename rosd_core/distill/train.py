"""Distillation: one pass over the score table; the student moves toward the teacher at the
supervised tokens alone.

The losses of `losses/token_losses.py` are summed over the supervised tokens of an optimizer step
and divided by the sum of their token weights (see `token_weights`), which is their number where all
are 1. So the result does not depend on how the step is cut into batches, nor on the number of
processes.

Dimension names: N supervised token.
"""

from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch.distributed.tensor import DTensor
from transformers import PreTrainedModel

from rosd_core.distill.checkpoint import Saves
from rosd_core.distill.optimizer_state import state_tensors
from rosd_core.distill.optimizers import new_optimizer, set_rate, update
from rosd_core.distill.processes import process_number, sum_over_processes
from rosd_core.distill.sharded import BatchLoss, release, shard
from rosd_core.distill.step_log import Drift, StepLog, Sums
from rosd_core.distill.targets import Batch, Objective, Rows, own_batches, split_step
from rosd_core.distill.watch import Watch
from rosd_core.forward.packing import can_pack, packed_attention
from rosd_core.forward.recompute import keep_activations, recompute_activations
from rosd_core.seeds import row_seed


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
    optimizer: str
    sharding: str
    offload: bool

    @property
    def sharded(self) -> bool:
        """Whether each process keeps a part of the weights only."""
        return self.sharding == "fsdp"

    def rate(self, step: int) -> float:
        """The learning rate of a step (from 0): constant after a linear warm-up."""
        warm = min(1.0, (step + 1) / self.warmup_steps) if self.warmup_steps else 1.0
        return self.learning_rate * warm


def train(
    model: PreTrainedModel,
    steps: Iterable[Rows],
    saves: Saves,
    objective: Objective,
    optimization: Optimization,
    pad_id: int,
    seed: int,
    watch: Watch,
) -> tuple[list[StepLog], Drift, dict[str, torch.Tensor]]:
    """One pass over the steps, from where `saves` begins; dropout depends on `seed`, the step and
    the number of the process.

    Returns a log per step, the drift of the new weights on the rows of the last one, and the
    optimizer's tensors. Raises RosdError where `watch` stops the epoch, and where a weight or a
    value of the optimizer's state is not finite at its end.
    """
    root = BatchLoss(model, objective, pad_id, optimization.autocast)
    if optimization.sharded:
        shard(root, optimization.offload)
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    optimizer = new_optimizer(
        optimization.optimizer, list(trained.values()), optimization.learning_rate,
        optimization.betas, optimization.weight_decay,
    )  # fmt: skip
    before, logs = saves.begin(trained, optimizer)
    begin, rows = before + len(logs), []
    model.train()
    if optimization.gradient_checkpointing:
        recompute_activations(model)
    with packed_attention(model) if can_pack(model) else nullcontext():
        for number, rows in enumerate(steps, before):
            if number < begin:
                continue
            torch.manual_seed(row_seed(seed, number, process_number()))
            logs.append(_step(root, optimizer, rows, number, optimization, watch))
            saves.step(trained, optimizer, number + 1, logs)
        if optimization.gradient_checkpointing:
            keep_activations(model)
        model.eval()
        state = state_tensors(optimizer, list(trained), before + len(logs))
        watch.refuse_not_finite([*model.named_parameters(), *state.items()])
        drift = _drift(root, rows, optimization)
    watch.end(drift.values())
    return logs, drift, state


def _step(
    root: BatchLoss,
    optimizer: torch.optim.Optimizer,
    rows: Rows,
    number: int,
    optimization: Optimization,
    watch: Watch,
) -> StepLog:
    """One optimizer step over `rows`; `watch` sees its log before the weights move."""
    tokens = sum(len(row["positions"]) for row in rows)
    scale = sum(float(row["token_weight"].sum()) for row in rows)
    sums = Sums(root.objective.settings)
    rate = optimization.rate(number)
    set_rate(optimizer, rate)
    for batch in _own_batches(root, rows, optimization):
        loss, ratios = root(batch, scale)
        loss.backward()
        if batch.counts:
            sums.add(loss.detach().double() * scale, ratios)
    parameters = optimizer.param_groups[0]["params"]
    norm = _summed_gradients(parameters, optimization.grad_clip)
    sums.reduce()
    loss = sums.totals[0].item() / scale
    importance, clipped, stale_kl = (sums.totals[1:] / tokens).tolist()
    largest = sums.largest.item()
    log = StepLog(number, loss, tokens, rate, norm, importance, clipped, largest, stale_kl)
    watch.step(log)
    update(optimizer)
    optimizer.zero_grad(set_to_none=True)
    return log


@torch.no_grad()
def _drift(root: BatchLoss, rows: Rows, optimization: Optimization) -> Drift:
    """How far the weights are now from those that sampled, on these rows: a forward pass."""
    sums, tokens = Sums(root.objective.settings), sum(len(row["positions"]) for row in rows)
    for batch in _own_batches(root, rows, optimization):
        loss, ratios = root(batch)
        if batch.counts:
            sums.add(loss, ratios)
    release(root)
    sums.reduce()
    _, _, clipped, stale_kl = (sums.totals / tokens).tolist()
    return Drift(sums.largest.item(), clipped, stale_kl)


def _own_batches(root: BatchLoss, rows: Rows, optimization: Optimization) -> Sequence[Batch]:
    """The batches of a step that this process computes; as many in each where weights are sharded,
    since every forward and backward pass gathers them from all.
    """
    batches = split_step(rows, optimization.batch_tokens, root.objective.live_teacher)
    return own_batches(batches, optimization.sharded)


def _summed_gradients(parameters: Sequence[torch.Tensor], clip: float) -> float:
    """Sum the gradients over the processes, unless FSDP has, and clip them; their norm before."""
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    sum_over_processes(
        p.grad for p in parameters if p.grad is not None and not isinstance(p.grad, DTensor)
    )
    norm = torch.nn.utils.clip_grad_norm_(parameters, clip)
    return (norm.full_tensor() if isinstance(norm, DTensor) else norm).item()
