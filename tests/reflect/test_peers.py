"""Who reflects beside which peer."""

import polars as pl

from rosd_core.reflect.peers import choose_peers


def choose(frame, seed, enabled=True, peer="random"):
    return choose_peers(frame, seed, enabled, peer)


def rollouts(verdicts: dict[str, list[bool]]) -> pl.DataFrame:
    return pl.DataFrame(
        [
            {"rollout_id": f"{p}/{g}", "problem_id": p, "success": s}
            for p, group in verdicts.items()
            for g, s in enumerate(group)
        ]
    )


def test_peers_are_correct_rollouts_of_the_group_and_differ():
    frame = rollouts({"p": [False] * 20 + [True] * 5, "q": [False, False], "r": [True]})
    peers = {r["rollout_id"]: r for r in choose(frame, 1).to_dicts()}
    chosen = {peers[f"p/{g}"]["peer_id"] for g in range(20)}
    assert chosen <= {f"p/{g}" for g in range(20, 25)}
    assert len(chosen) > 1  # not the first peer for the whole group
    others = {peers[f"p/{g}"]["peer_id"] for g in range(20, 25)}
    assert all(peers[f"p/{g}"]["peer_id"] not in (None, f"p/{g}") for g in range(20, 25))
    assert others <= {f"p/{g}" for g in range(20, 25)}
    assert peers["r/0"]["peer_id"] is None  # a lone success is nobody's peer
    assert peers["p/20"]["kind"] == "correct"
    assert peers["q/0"]["skip_reason"] == "no_success"
    assert peers["r/0"]["skip_reason"] is None
    assert choose(frame, 1).equals(choose(frame, 1))
    assert not choose(frame, 1).equals(choose(frame, 2))
    assert set(choose(frame, 1, enabled=False)["skip_reason"]) == {"disabled"}


def test_the_shortest_peer_has_the_fewest_tokens():
    frame = rollouts({"p": [False, True, True]}).with_columns(response_tokens=pl.Series([1, 3, 2]))
    peers = choose(frame, 1, peer="shortest")
    assert peers["peer_id"].to_list() == ["p/2", "p/2", "p/1"]
