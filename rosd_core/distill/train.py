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
from transformers import PreTrainedModel

from rosd_core.distill.checkpoint import Saves
from rosd_core.distill.optimizer_state import state_tensors
from rosd_core.distill.processes import process_number, share_of_process, sum_over_processes
from rosd_core.distill.step_log import Drift, Ratios, StepLog, Sums
from rosd_core.distill.targets import Batch, Objective, Rows, collate, split_step
from rosd_core.distill.watch import Watch
from rosd_core.forward.packing import can_pack, pack, packed_attention, packed_hidden, padded_hidden
from rosd_core.losses.head import head_of
from rosd_core.losses.head_loss import head_loss
from rosd_core.losses.token_losses import TokenInputs
from rosd_core.models.loading import low_precision
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

    def rate(self, step: int) -> float:
        """The learning rate of a step (from 0): constant after a linear warm-up."""
        warm = min(1.0, (step + 1) / self.warmup_steps) if self.warmup_steps else 1.0
        return self.learning_rate * warm


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
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    optimizer = torch.optim.AdamW(
        list(trained.values()), lr=optimization.learning_rate, betas=optimization.betas,
        weight_decay=optimization.weight_decay,
    )  # fmt: skip
    before, logs = saves.begin(trained, optimizer)
    begin, rows = before + len(logs), []
    model.train()
    if optimization.gradient_checkpointing:
        model.activation_checkpointing_enable({"use_reentrant": False})
    with packed_attention(model) if can_pack(model) else nullcontext():
        for number, rows in enumerate(steps, before):
            if number < begin:
                continue
            torch.manual_seed(row_seed(seed, number, process_number()))
            log = _step(model, optimizer, rows, number, objective, optimization, pad_id, watch)
            logs.append(log)
            saves.step(trained, optimizer, number + 1, logs)
        if optimization.gradient_checkpointing:
            model.activation_checkpointing_disable()
        model.eval()
        state = state_tensors(optimizer, list(trained), before + len(logs))
        watch.refuse_not_finite([*model.named_parameters(), *state.items()])
        drift = _drift(model, rows, objective, optimization, pad_id)
    watch.end(drift.values())
    return logs, drift, state


def _step(
    model: PreTrainedModel,
    optimizer: torch.optim.Optimizer,
    rows: Rows,
    number: int,
    objective: Objective,
    optimization: Optimization,
    pad_id: int,
    watch: Watch,
) -> StepLog:
    """One optimizer step over `rows`; `watch` sees its log before the weights move."""
    tokens = sum(len(row["positions"]) for row in rows)
    scale = sum(float(row["token_weight"].sum()) for row in rows)
    sums = Sums(objective.settings)
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
    largest = sums.largest.item()
    log = StepLog(number, loss, tokens, rate, norm, importance, clipped, largest, stale_kl)
    watch.step(log)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return log


@torch.no_grad()
def _drift(
    model: PreTrainedModel, rows: Rows, objective: Objective, optimization: Optimization, pad: int
) -> Drift:
    """How far the weights are now from those that sampled, on these rows: a forward pass."""
    sums, tokens = Sums(objective.settings), sum(len(row["positions"]) for row in rows)
    batches = split_step(rows, optimization.batch_tokens, objective.live_teacher)
    for batch in share_of_process(batches):
        with low_precision(model.device.type, optimization.autocast):
            sums.add(*batch_loss(model, batch, objective, pad))
    sums.reduce()
    _, _, clipped, stale_kl = (sums.totals / tokens).tolist()
    return Drift(sums.largest.item(), clipped, stale_kl)


def _summed_gradients(parameters: Sequence[torch.Tensor], clip: float) -> float:
    """Sum the gradients over the processes and clip them; their norm before that."""
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    sum_over_processes(p.grad for p in parameters if p.grad is not None)
    return torch.nn.utils.clip_grad_norm_(parameters, clip).item()
