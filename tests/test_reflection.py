import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rosd_core.reflection import choose_peers, format_reflection, parse_reflection

QUOTE, IDEA = "<error_quote>1+1=3</error_quote>", "<explanation>It is 2.</explanation>"


@pytest.mark.parametrize(
    ("raw", "kind", "finish", "expected"),
    [
        (QUOTE + IDEA, "wrong", "stop", ("1+1=3", "It is 2.", "ok")),
        (IDEA, "correct", "stop", (None, "It is 2.", "ok")),
        (QUOTE + IDEA, "correct", "stop", (None, "It is 2.", "ok")),  # a quote means nothing there
        (IDEA, "wrong", "stop", (None, "It is 2.", "no_quote")),
        ("<error_quote> </error_quote>" + IDEA, "wrong", "stop", (None, "It is 2.", "no_quote")),
        (QUOTE, "wrong", "stop", ("1+1=3", None, "no_idea")),
        (QUOTE + "<explanation>It", "wrong", "length", ("1+1=3", None, "truncated")),
        (QUOTE + IDEA.replace("expla", "explai"), "wrong", "stop", ("1+1=3", "It is 2.", "ok")),
        ("", "wrong", "stop", (None, None, "no_idea")),
    ],
)
def test_parsing(raw, kind, finish, expected):
    parsed = parse_reflection(raw, kind, finish)
    assert (parsed.quote, parsed.idea, parsed.status) == expected


@given(st.text(), st.sampled_from(["wrong", "correct"]), st.sampled_from(["stop", "length"]))
def test_parsing_never_raises(raw, kind, finish):
    assert parse_reflection(raw, kind, finish).status in {"ok", "no_idea", "no_quote", "truncated"}


def test_what_is_formatted_is_parsed():
    parsed = parse_reflection(format_reflection("a\nb", "c"), "wrong", "stop")
    assert (parsed.quote, parsed.idea, parsed.status) == ("a\nb", "c", "ok")


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
    peers = {r["rollout_id"]: r for r in choose_peers(frame, 1).to_dicts()}
    chosen = {peers[f"p/{g}"]["peer_id"] for g in range(20)}
    assert chosen <= {f"p/{g}" for g in range(20, 25)}
    assert len(chosen) > 1  # not the first peer for the whole group
    assert peers["p/20"]["peer_id"] is None
    assert peers["p/20"]["kind"] == "correct"
    assert peers["q/0"]["skip_reason"] == "no_success"
    assert peers["r/0"]["skip_reason"] is None
    assert choose_peers(frame, 1).equals(choose_peers(frame, 1))
    assert not choose_peers(frame, 1).equals(choose_peers(frame, 2))
