"""Distillation: one pass over the score table, the student pulled to the teacher at the supervised
tokens alone.

    divergence       sum over supervised tokens t of  r w_t JSD_alpha(S_t, T_t)
    cross_entropy    sum of  -r log S_t(y_t)
    policy_gradient  sum of  -min(rho_t r, clip(rho_t, 1 - c, 1 + c) r)

w_t = min(rho_t, importance_clip) is the clipped importance weight, rho_t = S_t(y_t) / behaviour
probability of the sampled token y_t, r the row's weight (1, or its advantage). The sum is divided
by the tokens of the whole optimizer step, so that the result does not depend on how the step is cut
into batches. Source: arXiv 2605.28014 (ROSD), 2402.03300 (GRPO, equation 3 without its KL term,
averaged over tokens).

Dimension names: N supervised token, K support, V vocabulary.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from transformers import PreTrainedModel

from rosd_core.divergence import gather_support, importance_weight, jsd, with_tail
from rosd_core.engine import supervised_logits
from rosd_core.errors import RosdError

STATE_FILE = "optimizer.safetensors"


@dataclass(frozen=True)
class StepLog:
    """What one optimizer step did; `loss` in nats per supervised token."""

    step: int
    loss: float
    tokens: int
    learning_rate: float
    grad_norm: float
    mean_weight: float
    clipped_share: float


def batch_loss(
    model: PreTrainedModel,
    rows: Sequence[dict[str, Any]],
    pad_id: int,
    alpha: float,
    clip: float,
    loss: str = "divergence",
    policy_clip: float = 0.2,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Summed (not averaged) loss of a batch of score rows, and the unclipped ratios rho (N,)."""
    pairs = [(r["prompt_ids"], r["response_ids"], r["positions"]) for r in rows]
    logits_NV, targets_N, _ = supervised_logits(model, pairs, pad_id)
    logp_NV = torch.log_softmax(logits_NV.float(), dim=-1)

    def column(name: str, dtype: torch.dtype) -> torch.Tensor:
        return torch.tensor(
            [entry for row in rows for entry in row[name]], dtype=dtype, device=logp_NV.device
        )

    token_N = gather_support(logp_NV, targets_N.unsqueeze(1)).squeeze(1)
    behaviour_N = column("behaviour_logp", torch.float32)
    ratio_N = (token_N.detach() - behaviour_N).exp()
    weights = [float(row["weight"]) for row in rows for _ in row["positions"]]
    row_N = torch.tensor(weights, device=logp_NV.device)
    if loss == "cross_entropy":
        return -(row_N * token_N).sum(), ratio_N
    if loss == "policy_gradient":
        now_N = (token_N - behaviour_N).exp()
        near_N = now_N.clamp(1 - policy_clip, 1 + policy_clip)
        return -torch.minimum(now_N * row_N, near_N * row_N).sum(), ratio_N
    support_NK = column("support_ids", torch.long)
    teacher_NC = with_tail(
        column("support_logp", torch.float32), column("tail_logp", torch.float32)
    )
    student_NC = with_tail(gather_support(logp_NV, support_NK))
    weight_N = row_N * importance_weight(token_N, behaviour_N, clip)
    return (weight_N * jsd(student_NC, teacher_NC, alpha)).sum(), ratio_N


def refuse_unscored(rows: Sequence[dict[str, Any]], loss: str) -> None:
    """Raises RosdError where there is nothing to train on, or no teacher for a divergence."""
    if not rows:
        raise RosdError(
            "no row of scores.parquet is supervised: see skip_reason in alignments.parquet."
        )
    untaught = sum(row["status"] == "no_teacher" for row in rows)
    if loss == "divergence" and untaught:
        raise RosdError(
            f"distill.loss is divergence, but {untaught} rows of scores.parquet have no teacher; "
            "set align.teacher_context to idea, peer or reference, or another distill.loss."
        )


def optimizer_tensors(
    optimizer: torch.optim.Optimizer, names: Sequence[str]
) -> dict[str, torch.Tensor]:
    """The optimizer's state as tensors named `state/parameter`; `load_state` reads them back."""
    tensors = {}
    for name, parameter in zip(names, optimizer.param_groups[0]["params"], strict=True):
        for key, value in optimizer.state[parameter].items():
            tensors[f"{key}/{name}"] = value.contiguous()
    return tensors


def load_state(optimizer: torch.optim.Optimizer, names: Sequence[str], folder: Path) -> int:
    """Restore the tensors of `optimizer_tensors`; returns the steps done before (0 where the folder
    holds no state).
    """
    file = folder / STATE_FILE
    if not file.exists():
        return 0
    tensors = load_file(file)
    for name, parameter in zip(names, optimizer.param_groups[0]["params"], strict=True):
        keys = [k for k in tensors if k.split("/", 1)[1] == name]
        if not keys:
            raise RosdError(
                f"{file}: holds no state of parameter {name}; it belongs to another model."
            )
        optimizer.state[parameter] = {k.split("/", 1)[0]: tensors[k] for k in keys}
    return int(tensors[f"step/{names[0]}"])


def train(
    model: PreTrainedModel,
    rows: Sequence[dict[str, Any]],
    start: Path,
    *,
    pad_id: int,
    seed: int,
    loss: str,
    policy_clip: float,
    alpha: float,
    importance_clip: float,
    learning_rate: float,
    warmup_steps: int,
    betas: tuple[float, float],
    weight_decay: float,
    grad_clip: float,
    rows_per_step: int,
    batch_rows: int,
) -> tuple[list[dict[str, float]], dict[str, torch.Tensor]]:
    """One epoch over the rows, in an order drawn by `seed`, continuing the optimizer state found in
    `start`.

    Returns a log per step and the optimizer's tensors. Raises RosdError if the loss is not finite.
    """
    named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    names = [n for n, _ in named]
    optimizer = torch.optim.AdamW(
        [p for _, p in named], lr=learning_rate, betas=betas, weight_decay=weight_decay
    )
    done = load_state(optimizer, names, start)
    order = list(rows)
    random.Random(seed).shuffle(order)
    model.train()
    logs = []
    for number, at in enumerate(range(0, len(order), rows_per_step), done):
        chosen = sorted(
            order[at : at + rows_per_step],
            key=lambda r: len(r["prompt_ids"]) + len(r["response_ids"]),
        )
        tokens = sum(len(r["behaviour_logp"]) for r in chosen)
        total, ratios = 0.0, []
        for b in range(0, len(chosen), batch_rows):
            part, ratio_N = batch_loss(
                model, chosen[b : b + batch_rows], pad_id, alpha, importance_clip, loss, policy_clip
            )
            (part / tokens).backward()
            total += part.item() / tokens
            ratios.append(ratio_N)
        rate = (
            learning_rate * min(1.0, (number + 1) / warmup_steps) if warmup_steps else learning_rate
        )
        for group in optimizer.param_groups:
            group["lr"] = rate
        norm = torch.nn.utils.clip_grad_norm_([p for _, p in named], grad_clip).item()
        if not math.isfinite(total + norm):
            raise RosdError(
                f"step {number}: loss {total}, gradient norm {norm}: training diverged; "
                "lower distill.learning_rate."
            )
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        ratio_N = torch.cat(ratios)
        clipped = (ratio_N > importance_clip).float().mean().item()
        weight = ratio_N.clamp(max=importance_clip).mean().item()
        logs.append(asdict(StepLog(number, total, tokens, rate, norm, weight, clipped)))
    model.eval()
    return logs, optimizer_tensors(optimizer, names)


def summarise(logs: Sequence[dict[str, float]], rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Metrics of an epoch: steps, tokens, first and last loss, mean weight and clipped share over
    steps.
    """
    return {
        "rows": len(rows),
        "steps": len(logs),
        "supervised_tokens": int(sum(log["tokens"] for log in logs)),
        "first_loss": logs[0]["loss"],
        "last_loss": logs[-1]["loss"],
        "mean_weight": sum(log["mean_weight"] for log in logs) / len(logs),
        "clipped_share": sum(log["clipped_share"] for log in logs) / len(logs),
    }
