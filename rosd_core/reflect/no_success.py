"""Groups without any success (`reflect.no_success`)."""

import polars as pl


def use_references(peers: pl.DataFrame, problems: pl.DataFrame, no_success: str) -> pl.DataFrame:
    """With `reference`, a wrong rollout of a group without success is reflected on beside the
    data's solution, where there is one; with `skip` it is left out. `peers` is what `choose_peers`
    returned; `peer_id` stays null.

    That reflection can teach such groups: RESD, arXiv 2605.12741.
    """
    if no_success == "skip":
        return peers
    solved = problems.filter(pl.col("solution").is_not_null())["problem_id"].implode()
    taken = (pl.col("skip_reason") == "no_success") & pl.col("problem_id").is_in(solved)
    reason = pl.when(taken.fill_null(False)).then(None).otherwise("skip_reason")
    return peers.with_columns(reason.alias("skip_reason"))
