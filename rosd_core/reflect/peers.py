"""Which rollouts are reflected on, each beside which peer."""

from pathlib import Path

import polars as pl

from rosd_core.seeds import row_seed
from rosd_core.tables.io import read_table
from rosd_core.tables.parquet import frames


def read_candidates(rollouts: Path) -> pl.DataFrame:
    """What `choose_peers` needs of the table `rollouts`; memory holds no token."""
    known = read_table("rollouts", rollouts, ["rollout_id", "problem_id", "success"])
    size = pl.col("response_ids").list.len()
    tokens = pl.concat(part.select(size) for part in frames(rollouts, ["response_ids"]))
    return known.with_columns(response_tokens=tokens["response_ids"])


def choose_peers(rollouts: pl.DataFrame, seed: int, enabled: bool, peer: str) -> pl.DataFrame:
    """Kind (wrong or correct), peer and skip reason of every rollout, from columns rollout_id,
    problem_id, success and, for `shortest`, response_tokens.

    The peer is a correct rollout of the same group, never the rollout itself: drawn by a seed of
    its own, so that one peer does not serve the whole group (`random`), or the one of fewest tokens
    (`shortest`, the paper's choice). A wrong rollout of a group without success is skipped: there
    is no correct solution to show to the reflector.
    """
    shortest = peer == "shortest"
    order = [pl.col("response_tokens")] * shortest + [pl.col("rollout_id")]
    correct = (
        rollouts.filter("success")
        .group_by("problem_id")
        .agg(pl.col("rollout_id").sort_by(*order).alias("peers"))
    )
    rows = rollouts.select("rollout_id", "problem_id", "success").join(
        correct, "problem_id", "left", maintain_order="left"
    )
    peers = [
        _pick(row["peers"] or [], row["rollout_id"], seed, shortest)
        for row in rows.iter_rows(named=True)
    ]
    reason = pl.when(pl.col("peers").is_null()).then(pl.lit("no_success"))
    return rows.select(
        "rollout_id",
        "problem_id",
        pl.when("success").then(pl.lit("correct")).otherwise(pl.lit("wrong")).alias("kind"),
        pl.Series("peer_id", peers, pl.String),
        (reason if enabled else pl.lit("disabled")).alias("skip_reason"),
    )


def _pick(correct: list[str], rollout_id: str, seed: int, shortest: bool) -> str | None:
    """The peer of a rollout among the correct ones of its group."""
    peers = [peer for peer in correct if peer != rollout_id]
    if not peers:
        return None
    return peers[0 if shortest else row_seed(seed, "peer", rollout_id) % len(peers)]
