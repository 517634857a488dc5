"""Who reflects on what, beside which peer."""

import polars as pl

from rosd_core.seeds import row_seed


def choose_peers(
    rollouts: pl.DataFrame, seed: int, enabled: bool = True, peer: str = "random"
) -> pl.DataFrame:
    """Kind, peer and skip reason of every rollout.

    The peer is one of the group's correct rollouts, never the rollout itself: drawn by a seed of
    its own, so that one peer does not serve the whole group (`random`), or the one of fewest tokens
    (`shortest`, the paper's choice). A wrong rollout of a group without
    success is skipped: there is nothing to show to the reflector.
    """
    shortest = peer == "shortest"
    order = [pl.col("response_ids").list.len()] * shortest + [pl.col("rollout_id")]
    correct = (
        rollouts.filter("success")
        .group_by("problem_id")
        .agg(pl.col("rollout_id").sort_by(*order).alias("peers"))
    )
    rows = rollouts.select("rollout_id", "problem_id", "success").join(
        correct, "problem_id", "left", maintain_order="left"
    )

    def pick(row: dict) -> str | None:
        peers = [peer for peer in row["peers"] or [] if peer != row["rollout_id"]]
        if not peers:
            return None
        drawn = row_seed(seed, "peer", row["rollout_id"]) % len(peers)
        return peers[0 if shortest else drawn]

    peers = [pick(row) for row in rows.iter_rows(named=True)]
    reason = pl.when(pl.col("peers").is_null()).then(pl.lit("no_success"))
    return rows.select(
        "rollout_id",
        "problem_id",
        pl.when("success").then(pl.lit("correct")).otherwise(pl.lit("wrong")).alias("kind"),
        pl.Series("peer_id", peers, pl.String),
        (reason if enabled else pl.lit("disabled")).alias("skip_reason"),
    )
