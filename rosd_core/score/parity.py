"""Parity: the sampling engine's log-probabilities against those of the training forward pass.

Engine and training read the same weights with different code, precision and batches. Where the two
disagree, importance weights are wrong and the loss trains on tokens that the student would not have
drawn. Per sampled token, in nats:

    |log b(y) - log S_T(y)|      b: behaviour log-prob, S_T: at temperature and top_p
    |log s(y) - log S(y)|        s: the engine's log-prob of the model itself

the larger of the two. Dimension names: N token, V vocabulary.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from rosd_core.errors import RosdError
from rosd_core.forward.hidden_states import ModelMix
from rosd_core.losses.head import chunks
from rosd_core.sampling.draw import nucleus_logp, token_logp
from rosd_core.seeds import row_seed
from rosd_core.tables.io import read_rows, read_table


@torch.no_grad()
def parity(
    rollouts: Path, count: int, student: ModelMix, temperature: float, top_p: float
) -> dict[str, float | int]:
    """Rows, tokens, mean and worst difference of `count` rollouts of the table, drawn by their ids;
    `temperature` and `top_p` are what they should have been sampled with.
    """
    ids = read_table("rollouts", rollouts, ["rollout_id"])["rollout_id"].to_list()
    chosen = sorted(ids, key=lambda name: row_seed(0, "parity", name))[:count]
    rows = read_rows("rollouts", rollouts, chosen).to_dicts()
    difference_N = torch.cat([_differences(row, student, temperature, top_p) for row in rows])
    return {
        "parity_rows": len(rows),
        "parity_tokens": len(difference_N),
        "parity_mean": float(difference_N.mean()),
        "parity_worst": float(difference_N.max()),
    }


def _differences(
    row: Mapping[str, Any], student: ModelMix, temperature: float, top_p: float
) -> torch.Tensor:
    """The difference at every token of a rollout, (N,) in fp64."""
    response: Sequence[int] = row["response_ids"]
    head = student.head()
    hidden_NH = student.hidden([(row["prompt_ids"], response, range(len(response)))])
    token_N = torch.tensor(response, device=hidden_NH.device)
    pieces = []
    for part in chunks(hidden_NH, head.matrix_VH.shape[0]):
        logits_NV = head.logits(hidden_NH[part])
        own_N = token_logp(logits_NV, token_N[part])
        pieces.append((nucleus_logp(logits_NV, token_N[part], temperature, top_p), own_N))
    behaviour_N, own_N = (torch.cat(column).double().cpu() for column in zip(*pieces, strict=True))
    told_N, model_N = (
        torch.tensor(row[name], dtype=torch.float64) for name in ("behaviour_logp", "student_logp")
    )
    return torch.maximum((behaviour_N - told_N).abs(), (own_N - model_N).abs())


def refuse_disparity(metrics: Mapping[str, float | int], bound: float) -> None:
    """Raises RosdError where the mean difference exceeds the bound (nats per token)."""
    mean = metrics["parity_mean"]
    if not mean <= bound:
        raise RosdError(
            f"the engine's log-probabilities are not those of the training forward pass: they "
            f"differ by {mean:.4f} nats per token (worst {metrics['parity_worst']:.3f}, over "
            f"{metrics['parity_rows']} rollouts), more than engine.parity.bound = {bound:g}. "
            "Either the engine did not sample from this model, at rollout.temperature and "
            "rollout.top_p, or its precision is lower: then raise the bound, 0.05 for bfloat16."
        )
