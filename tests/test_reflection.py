import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rosd_core.reflection import (
    choose_peers,
    format_reflection,
    parse_reflection,
    without_quotes,
)

QUOTE, IDEA = "<error_quote>1+1=3</error_quote>", "<explanation>It is 2.</explanation>"


def parsed(raw, kind="wrong", finish="stop"):
    found = parse_reflection(raw, kind, finish)
    return found.quotes, found.idea, found.status, found.repairs


@pytest.mark.parametrize(
    ("raw", "kind", "finish", "expected"),
    [
        (QUOTE + IDEA, "wrong", "stop", (("1+1=3",), "It is 2.", "ok", ())),
        (IDEA, "correct", "stop", ((), "It is 2.", "ok", ())),
        (QUOTE + IDEA, "correct", "stop", ((), "It is 2.", "ok", ())),  # quotes mean nothing there
        (IDEA, "wrong", "stop", ((), "It is 2.", "no_quote", ())),
        ("<error_quote> </error_quote>" + IDEA, "wrong", "stop", ((), "It is 2.", "no_quote", ())),
        (QUOTE, "wrong", "stop", (("1+1=3",), None, "no_idea", ())),
        (QUOTE + "<explanation>It", "wrong", "length", (("1+1=3",), None, "truncated", ())),
        ("", "wrong", "stop", ((), None, "no_idea", ())),
        ("{", "wrong", "stop", ((), None, "no_idea", ())),
    ],
)
def test_parsing(raw, kind, finish, expected):
    assert parsed(raw, kind, finish) == expected


FINE = (("1+1=3",), "It is 2.", "ok")


@pytest.mark.parametrize(
    ("raw", "repairs"),
    [
        (QUOTE + IDEA.replace("expla", "explai"), ()),  # the published contract's spelling
        ("Line 1 is wrong.\n" + QUOTE + "\n" + IDEA + "\nDone.", ()),
        (QUOTE.replace("error_quote", "Error Quote") + IDEA, ()),
        ("<think>Is it <error_quote>x</error_quote>?</think>\n" + QUOTE + IDEA, ("thought",)),
        (f"```xml\n{QUOTE}\n{IDEA}\n```", ("fence",)),
        (QUOTE.replace("</error_quote>", "\n") + IDEA, ("unclosed",)),
        (QUOTE.replace("</error_quote>", "</explanation>") + IDEA, ("unclosed",)),
        (QUOTE + IDEA.replace("</explanation>", ""), ("unclosed",)),
        (QUOTE + IDEA.replace("</explanation>", "</explanation"), ()),
        (QUOTE + IDEA + IDEA, ()),  # said twice
        (QUOTE + QUOTE + IDEA, ()),
        ('{"error_quote": "1+1=3", "explanation": "It is 2."}', ("json",)),
    ],
)
def test_what_real_models_write_is_read(raw, repairs):
    assert parsed(raw) == (*FINE, repairs)


def test_several_errors_and_several_explanations():
    other = QUOTE.replace("3", "4") + "<explanation>Nor 4.</explanation>"
    wanted = (("1+1=3", "1+1=4"), "It is 2.\nNor 4.", "ok", ("several_ideas",))
    assert parsed(QUOTE + IDEA + other) == wanted
    both = '{"error_quote": ["a", "b"], "explanation": "c"}'
    assert parsed(both) == (("a", "b"), "c", "ok", ("json",))


def test_an_endless_thought_is_no_answer():
    assert parsed("<think>" + QUOTE + IDEA, finish="length") == (
        (),
        None,
        "truncated",
        ("thought",),
    )


TAGS = ["<error_quote>", "</error_quote>", "<explanation>", "</explanation>", "<think>", "```"]


@given(
    st.lists(st.one_of(st.sampled_from([*TAGS, "{", "}", '"']), st.text(max_size=5)), max_size=12),
    st.sampled_from(["wrong", "correct"]),
    st.sampled_from(["stop", "length"]),
)
def test_parsing_never_raises(parts, kind, finish):
    found = parse_reflection("".join(parts), kind, finish)
    assert found.status in {"ok", "no_idea", "no_quote", "truncated"}
    assert (found.status == "ok") == (
        found.idea is not None and (kind == "correct" or found.quotes != ())
    )


def test_what_is_formatted_is_parsed():
    assert parsed(format_reflection("a\nb", "c", "1 2\n")) == (("a\nb",), "c", "ok", ())


def test_what_stands_beside_the_quotes():
    beside = without_quotes("Line 2: " + QUOTE + IDEA, ["1+1=3"])
    assert beside.split() == ["Line", "2:", "It", "is", "2."]


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
