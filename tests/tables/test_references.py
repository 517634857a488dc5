from pathlib import Path

import polars as pl
import pytest

from rosd_core.errors import RosdError
from rosd_core.score.rows import unscored
from rosd_core.tables.io import write_table
from rosd_core.tables.references import check_alignment, check_reflections, checked_scores

FILE = Path("t.parquet")
ROLLOUTS = pl.DataFrame(
    {"rollout_id": ["p/0", "p/1", "q/0"], "problem_id": ["p", "p", "q"]}
)  # two of a group, one of another
REFLECTIONS = ROLLOUTS.with_columns(peer_id=pl.Series(["p/1", None, None]))


def test_peers_are_rollouts_of_the_same_problem():
    check_reflections(REFLECTIONS, ROLLOUTS, FILE)


@pytest.mark.parametrize(
    ("rows", "part"),
    [
        (REFLECTIONS.with_columns(peer_id=pl.Series(["p/7", None, None])), "peer_id p/7 is not in"),
        (REFLECTIONS.with_columns(peer_id=pl.Series(["q/0", None, None])), "another problem"),
        (REFLECTIONS.with_columns(rollout_id=pl.Series(["p/0", "p/1", "z/0"])), "z/0 is not in"),
        (REFLECTIONS.head(2), "2 reflections of 3 rollouts"),
    ],
)
def test_other_peers_are_refused(rows, part):
    with pytest.raises(RosdError, match=f"t.parquet: .*{part}"):
        check_reflections(rows, ROLLOUTS, FILE)


ROLLOUT = {"response_ids": [5, 6, 7], "response": "abcdef"}
PLACE = {"quote": "x", "match": "exact", "candidates": 1, "char_start": 2, "char_end": 6}
ALIGNMENT = {"rollout_id": "p/0", "response_tokens": 3, "positions": [0, 2], "quotes": [PLACE]}


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({}, None),
        ({"positions": [], "quotes": None}, None),
        ({"quotes": [PLACE | {"char_start": None, "char_end": None}]}, None),
        ({"response_tokens": 4}, "response_tokens is 4, but the rollout has 3"),
        ({"positions": [1, 3]}, "positions"),  # 3 is behind the last token
        ({"positions": [-1, 0]}, "positions"),
        ({"positions": [1, 1]}, "positions"),
        ({"quotes": [PLACE | {"char_end": 7}]}, "response of 6 characters"),
        ({"quotes": [PLACE | {"char_start": -1}]}, "response of 6 characters"),
    ],
)
def test_positions_and_quotes_lie_inside_the_response(change, part):
    row = ALIGNMENT | change
    if part is None:
        check_alignment(row, ROLLOUT, FILE)  # pyright: ignore[reportArgumentType]
        return
    with pytest.raises(RosdError, match=f"t.parquet: row p/0: .*{part}"):
        check_alignment(row, ROLLOUT, FILE)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("positions", "logps", "sound"),
    [
        ([0, 2], 2, True),
        ([], 0, True),
        ([2], 1, True),
        ([0, 3], 2, False),  # behind the last of three tokens
        ([-1], 1, False),
        ([2, 0], 2, False),
        ([0, 2], 1, False),
    ],
)
def test_scores_have_a_log_probability_for_each_position_inside(tmp_path, positions, logps, sound):
    given = {
        "rollout_id": "p/0", "problem_id": "p", "kind": "wrong", "prompt_ids": [1],
        "teacher_prompt_ids": [1], "shortened": None, "response_ids": [5, 6, 7], "weight": 1.0,
        "positions": positions, "behaviour_logp": [-1.0] * logps, "policy": "all",
        "student_logp": [-1.0] * logps,
    }  # fmt: skip
    file = tmp_path / "s.parquet"
    row = unscored(given, "scored", "student")  # pyright: ignore[reportArgumentType]
    write_table("scores", [row], file)
    if sound:
        assert checked_scores(file, ["status"])["status"].to_list() == ["scored"]
        return
    with pytest.raises(RosdError, match=r"s.parquet: row p/0: positions"):
        checked_scores(file, ["status"])
