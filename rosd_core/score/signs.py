"""Signs of a collapse in what score compares: how much probability the support misses, how random
the student is, and how far it is from the base model.

Dimension names: N supervised or sampled token.
"""

import math
from pathlib import Path

import polars as pl
import torch

from rosd_core.forward.hidden_states import ModelMix
from rosd_core.losses.head import chunks
from rosd_core.sampling.draw import token_logp
from rosd_core.seeds import row_seed
from rosd_core.tables.io import read_rows, read_table

BASE_KL_ROWS = 32  # rollouts that the distance to the base is measured on


def distribution_signs(scores: Path) -> dict[str, float | None]:
    """Means over the scored tokens of the table `scores`; None where there is none.

        tail_mass         the teacher's probability outside of the K ids of the support; 1 less
                          this is the top-k mass. None for targets `hidden`, which have no support
        student_entropy   of the student's next-token distribution, in nats

    Memory holds a few numbers per row.
    """
    tail = pl.col("tail_logp").cast(pl.List(pl.Float64)).list.eval(pl.element().exp())
    entropy = pl.col("student_entropy").cast(pl.List(pl.Float64))
    means = {}
    rows = pl.scan_parquet(scores).select(
        tail.list.sum().alias("tail_mass"),
        entropy.list.sum().alias("student_entropy"),
        pl.col("tail_logp").list.len().alias("of_tail_mass"),
        pl.col("student_entropy").list.len().alias("of_student_entropy"),
    )
    table = rows.collect(engine="streaming")
    for name in ("tail_mass", "student_entropy"):
        tokens = int(table[f"of_{name}"].sum())
        means[name] = math.fsum(table[name].to_list()) / tokens if tokens else None
    return means


@torch.no_grad()
def base_kl(rollouts: Path, base: ModelMix) -> float:
    """KL(S || base) in nats per token, estimated by the mean of log S(y) - log base(y) over the
    sampled tokens of 32 rollouts, drawn by their ids. Both read the plain prompt, at
    temperature 1; the estimate is unbiased where rollout.temperature and top_p are 1.
    """
    ids = read_table("rollouts", rollouts, ["rollout_id"])["rollout_id"].to_list()
    chosen = sorted(ids, key=lambda name: row_seed(0, "base_kl", name))[:BASE_KL_ROWS]
    head, total, tokens = base.head(), 0.0, 0
    for row in read_rows("rollouts", rollouts, chosen).iter_rows(named=True):
        response = row["response_ids"]
        hidden_NH = base.hidden([(row["prompt_ids"], response, range(len(response)))])
        token_N = torch.tensor(response, device=hidden_NH.device)
        for part in chunks(hidden_NH, head.matrix_VH.shape[0]):
            total -= token_logp(head.logits(hidden_NH[part]), token_N[part]).double().sum().item()
        total += math.fsum(row["student_logp"])
        tokens += len(response)
    return total / tokens
