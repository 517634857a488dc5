"""Distillation: one pass over the score table, the student pulled to the teacher at the supervised
tokens alone.

    divergence       sum over supervised tokens t of  r w_t JSD_alpha(S_t, T_t)
    sampled_token    sum of  -r w_t (log T_t(y_t) - log S_t(y_t)) log S_t(y_t), the bracket constant
    cross_entropy    sum of  -r log S_t(y_t)
    policy_gradient  sum of  -min(rho_t r, clip(rho_t, 1 - c, 1 + c) r)

w_t = min(rho_t, importance_clip) is the clipped importance weight, rho_t = S_t(y_t) / behaviour
probability of the sampled token y_t, r the row's weight (1, or its advantage). `sampled_token` is
the policy gradient of the reverse KL, one sample per token. The sum is divided by the supervised
tokens of the whole optimizer step, so that the result does not depend on how the step is cut into
batches, nor on the number of processes. Source: arXiv 2605.28014 (ROSD), 2402.03300 (GRPO, equation
3 without its KL term, averaged over tokens).

Dimension names: N supervised token, K support, H hidden, V vocabulary.
"""

import math
import os
import random
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed
from safetensors.torch import load_file
from transformers import PreTrainedModel

from rosd_core.errors import RosdError
from rosd_core.forward.packing import (
    batches,
    can_pack,
    pack,
    pack_row,
    packed_attention,
    packed_hidden,
    padded_hidden,
)
from rosd_core.forward.teachers import Taught
from rosd_core.losses.head import Targets, TokenLoss, head_loss, head_of
from rosd_core.models.loading import low_precision
from rosd_core.tables.bfloat16 import from_bfloat16

STATE_FILE, STEPS = "optimizer.safetensors", "steps"

SELF_TEACHING = ("divergence", "sampled_token")  # the losses that a teacher takes part in

Rows = Sequence[dict[str, Any]]


@dataclass(frozen=True)
class StepLog:
    """What one optimizer step did. `loss` in nats per supervised token. The rest says how stale the
    samples are: mean of the importance weight, share of tokens that the loss clips, largest ratio,
    and KL(behaviour || student) by its estimate rho - 1 - log rho, in nats.
    """

    step: int
    loss: float
    tokens: int
    learning_rate: float
    grad_norm: float
    mean_weight: float
    clipped_share: float
    largest_ratio: float
    stale_kl: float


def collate(rows: Rows, how: TokenLoss, taught: Taught | None, device: torch.device) -> Targets:
    """The targets of rows, supervised token after supervised token. Raises RosdError where the
    table holds other targets than the params say.
    """

    def stored(name: str) -> list[Any]:
        if any(row[name] is None or not len(row[name]) for row in rows if len(row["positions"])):
            raise RosdError(
                f"scores.parquet has no {name}: it was written with another score.targets; "
                "run `rosd score` first."
            )
        return [row[name] for row in rows]

    def column(name: str, dtype: torch.dtype) -> torch.Tensor:
        parts = [np.asarray(values) for values in stored(name)]
        return torch.from_numpy(np.concatenate(parts)).to(device, dtype)

    token_N = torch.tensor([row["response_ids"][t] for row in rows for t in row["positions"]])
    weights = [float(row["weight"]) for row in rows for _ in row["positions"]]
    plain = {
        "token_N": token_N.to(device),
        "behaviour_N": column("behaviour_logp", torch.float32),
        "weight_N": torch.tensor(weights, device=device),
    }
    if how.loss in ("cross_entropy", "policy_gradient"):
        return Targets(**plain)
    if taught is not None and taught.reader is not None:
        asked = [pack_row(row, "teacher_prompt_ids") for row in rows]
        return Targets(**plain, hidden_NH=torch.cat(taught.reader.hidden_of_rows(asked)))
    if taught is not None:
        kept = zip(stored("teacher_hidden"), rows, strict=True)
        parts = [from_bfloat16(hidden, len(row["positions"])) for hidden, row in kept]
        return Targets(**plain, hidden_NH=torch.cat(parts).to(device))
    if how.loss == "sampled_token":
        teacher_NK = column("teacher_logp", torch.float32).unsqueeze(1)
        return Targets(**plain, support_NK=plain["token_N"].unsqueeze(1), teacher_NK=teacher_NK)
    return Targets(
        **plain,
        support_NK=column("support_ids", torch.long),
        teacher_NK=column("support_logp", torch.float32),
        tail_N=column("tail_logp", torch.float32),
    )


def batch_loss(
    model: PreTrainedModel,
    rows: Rows,
    pad_id: int,
    how: TokenLoss,
    taught: Taught | None = None,
    tokens: float = 1.0,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Loss of a batch of score rows, summed over its tokens and divided by `tokens`, and the
    unclipped ratios rho (N,). Within packed_attention where the model can be packed.
    """
    asked = [pack_row(row, "prompt_ids") for row in rows]
    if can_pack(model):
        hidden_NH = packed_hidden(model, pack(asked))
    else:
        hidden_NH = padded_hidden(model, asked, pad_id)
    targets = collate(rows, how, taught, hidden_NH.device)
    teacher = None if taught is None else taught.head
    loss, logp_N = head_loss(hidden_NH, head_of(model), targets, how, teacher, tokens)
    return loss, (logp_N.float() - targets.behaviour_N).exp()


def steps(
    groups: Iterable[Rows], rows_per_step: int, seed: int, shuffle: str
) -> Iterator[list[dict[str, Any]]]:
    """The rows of each optimizer step, shuffled within a row group of the table: only one of them
    is held. `problems` shuffles problems and keeps the rows of each together.
    """
    draw, held = random.Random(seed), []
    for group in groups:
        if shuffle == "problems":
            whole = [list(rows) for _, rows in groupby(group, lambda row: row["problem_id"])]
            draw.shuffle(whole)
            held += [row for rows in whole for row in rows]
        else:
            order = list(group)
            draw.shuffle(order)
            held += order
        while len(held) >= rows_per_step:
            yield held[:rows_per_step]
            held = held[rows_per_step:]
    if held:
        yield held


@contextmanager
def processes(device: str) -> Iterator[tuple[str, bool]]:
    """Join the processes that torchrun started, if it did. Yields the device of this one and
    whether it is the first, which writes.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield device, True
        return
    backend = "gloo"
    if device == "cuda":
        device, backend = f"cuda:{os.environ['LOCAL_RANK']}", "cpu:gloo,cuda:nccl"
        torch.cuda.set_device(device)
    torch.distributed.init_process_group(backend)
    try:
        yield device, process_number() == 0
    finally:
        torch.distributed.destroy_process_group()


def process_number() -> int:
    return torch.distributed.get_rank() if torch.distributed.is_initialized() else 0


def share_of_process(chosen: list[list[int]]) -> list[list[int]]:
    """The batches of this process, where several train together (torch.distributed)."""
    if not torch.distributed.is_initialized():
        return chosen
    return chosen[process_number() :: torch.distributed.get_world_size()]


def sum_over_processes(tensors: Iterable[torch.Tensor]) -> None:
    """Add up in place over the processes, where there are several."""
    if torch.distributed.is_initialized():
        for tensor in tensors:
            torch.distributed.all_reduce(tensor)


def refuse_unscored(status: dict[str, int], loss: str) -> None:
    """Raises RosdError where there is nothing to train on, or no teacher for the loss; `status`
    counts the rows of scores.parquet by status.
    """
    if not any(count for name, count in status.items() if name != "too_long"):
        raise RosdError(
            "no row of scores.parquet is supervised: see skip_reason in alignments.parquet."
        )
    untaught = status.get("no_teacher", 0)
    if loss in SELF_TEACHING and untaught:
        raise RosdError(
            f"distill.loss is {loss}, but {untaught} rows of scores.parquet have no teacher; "
            "set align.teacher_context to idea, peer or reference, or another distill.loss."
        )


def optimizer_tensors(
    optimizer: torch.optim.Optimizer, names: Sequence[str], steps: int
) -> dict[str, torch.Tensor]:
    """The optimizer's state as tensors named `state/parameter`, and the number of steps so far;
    `load_state` reads them back.
    """
    tensors = {STEPS: torch.tensor(steps)}
    for name, parameter in zip(names, optimizer.param_groups[0]["params"], strict=True):
        for key, value in optimizer.state[parameter].items():
            tensors[f"{key}/{name}"] = value.contiguous()
    return tensors


def kept_state(state: dict[str, torch.Tensor], merged: bool) -> dict[str, torch.Tensor]:
    """What the next iteration can go on from: of a merged adapter the number of steps alone."""
    return {STEPS: state[STEPS]} if merged else state


def load_state(optimizer: torch.optim.Optimizer, names: Sequence[str], folder: Path | None) -> int:
    """Restore the tensors of `optimizer_tensors`; returns the steps done before (0 where there is
    no state). A file with the number of steps alone is that of a merged adapter: the next adapter
    goes on in the schedule, with an optimizer of its own.
    """
    file = None if folder is None else folder / STATE_FILE
    if file is None or not file.exists():
        return 0
    tensors = load_file(file)
    steps = int(tensors.pop(STEPS, 0))
    if not tensors:
        return steps
    for name, parameter in zip(names, optimizer.param_groups[0]["params"], strict=True):
        keys = [k for k in tensors if k.split("/", 1)[1] == name]
        if not keys:
            raise RosdError(
                f"{file}: holds no state of parameter {name}; it belongs to another model, or "
                "distill.lora has changed since: run the iterations before with it too."
            )
        state = {k.split("/", 1)[0]: tensors[k] for k in keys}
        optimizer.state[parameter] = {  # AdamW counts its steps on the CPU
            k: t if k == "step" else t.to(parameter.device) for k, t in state.items()
        }
    return steps


def train(
    model: PreTrainedModel,
    chosen: Iterable[list[dict[str, Any]]],
    start: Path | None,
    *,
    how: TokenLoss,
    pad_id: int,
    learning_rate: float,
    warmup_steps: int,
    betas: tuple[float, float],
    weight_decay: float,
    grad_clip: float,
    batch_tokens: int,
    taught: Taught | None = None,
    autocast: str = "none",
    gradient_checkpointing: bool = False,
    seed: int = 0,
) -> tuple[list[dict[str, float]], dict[str, torch.Tensor]]:
    """One pass over the steps of `steps`, continuing the optimizer state found in `start`; `seed`
    and the number of the process draw dropout.

    Returns a log per step and the optimizer's tensors. Raises RosdError if the loss is not finite.
    """
    named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    names, weights = [n for n, _ in named], [p for _, p in named]
    optimizer = torch.optim.AdamW(weights, lr=learning_rate, betas=betas, weight_decay=weight_decay)
    done, logs = load_state(optimizer, names, start), []
    torch.manual_seed(seed + process_number())
    model.train()
    if gradient_checkpointing:
        model.activation_checkpointing_enable({"use_reentrant": False})
    packing = packed_attention(model) if can_pack(model) else nullcontext()
    with packing:
        for number, rows in enumerate(chosen, done):
            rate = (
                learning_rate * min(1.0, (number + 1) / warmup_steps)
                if warmup_steps
                else learning_rate
            )
            for group in optimizer.param_groups:
                group["lr"] = rate
            logs.append(
                _step(model, weights, optimizer, rows, number, how, taught, pad_id, batch_tokens,
                      grad_clip, rate, autocast)
            )  # fmt: skip
    if gradient_checkpointing:
        model.activation_checkpointing_disable()
    model.eval()
    return logs, optimizer_tensors(optimizer, names, done + len(logs))


def _step(
    model: PreTrainedModel,
    weights: Sequence[torch.Tensor],
    optimizer: torch.optim.Optimizer,
    rows: Rows,
    number: int,
    how: TokenLoss,
    taught: Taught | None,
    pad_id: int,
    batch_tokens: int,
    grad_clip: float,
    rate: float,
    autocast: str,
) -> dict[str, float]:
    """One optimizer step over `rows`; what it logs."""
    tokens = sum(len(row["behaviour_logp"]) for row in rows)
    # over tokens: loss, clipped weight, clipped share, KL; and the largest ratio
    sums, largest = torch.zeros(4, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    asked = [pack_row(row, "prompt_ids") for row in rows]
    for batch in share_of_process(list(batches(asked, batch_tokens))):
        part = [rows[n] for n in batch]
        with low_precision(model.device.type, autocast):
            loss, ratio_N = batch_loss(model, part, pad_id, how, taught, tokens)
        loss.backward()
        ratio_N = ratio_N.double().cpu()
        weight_N = torch.tensor([row["weight"] for row in part for _ in row["positions"]])
        stale = (ratio_N - 1 - ratio_N.log()).sum()
        seen = [x.double().sum() for x in how.staleness(ratio_N, weight_N)] + [stale]
        sums += torch.stack([loss.detach().double().cpu() * tokens, *seen])
        largest = torch.maximum(largest, ratio_N.max())
    for weight in weights:
        if weight.grad is None:
            weight.grad = torch.zeros_like(weight)
    sum_over_processes([sums, *(w.grad for w in weights if w.grad is not None)])
    if torch.distributed.is_initialized():
        torch.distributed.all_reduce(largest, torch.distributed.ReduceOp.MAX)
    norm = torch.nn.utils.clip_grad_norm_(weights, grad_clip).item()
    loss, weight, clipped, stale = (sums / tokens).tolist()
    if not math.isfinite(loss + norm):
        raise RosdError(
            f"step {number}: loss {loss}, gradient norm {norm}: training diverged; "
            "lower distill.learning_rate."
        )
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return asdict(StepLog(number, loss, tokens, rate, norm, weight, clipped, largest.item(), stale))


def summarise(logs: Sequence[dict[str, float]], rows: int) -> dict[str, float]:
    """Metrics of an epoch: steps, tokens, first and last loss, and the staleness over its steps."""

    def mean(name: str) -> float:
        return sum(log[name] for log in logs) / len(logs)

    return {
        "rows": rows,
        "steps": len(logs),
        "supervised_tokens": int(sum(log["tokens"] for log in logs)),
        "first_loss": logs[0]["loss"],
        "last_loss": logs[-1]["loss"],
        "mean_weight": mean("mean_weight"),
        "clipped_share": mean("clipped_share"),
        "largest_ratio": max(log["largest_ratio"] for log in logs),
        "stale_kl": mean("stale_kl"),
    }
