"""Means by kind of token, with numbers by hand."""

import pytest

from rosd_core.score.rows import unscored
from rosd_core.score.token_means import token_means
from rosd_core.tables.io import write_table


def row(kind, positions, divergence, entropy, sample=0):
    given = {
        "rollout_id": f"p/{sample}", "problem_id": "p", "kind": kind, "prompt_ids": [1],
        "teacher_prompt_ids": [1], "shortened": None, "response_ids": [5, 6, 7],
        "positions": positions, "behaviour_logp": [-1.0] * len(positions), "weight": 1.0,
        "student_logp": [-1.0] * len(positions), "policy": "all",
    }  # fmt: skip
    scores = {"divergence": divergence, "student_entropy": entropy}
    return unscored(given, "scored", "student") | scores  # pyright: ignore[reportArgumentType]


def test_the_means_are_over_tokens(tmp_path):
    rows = [
        row("wrong", [0, 1, 2], [0.5, 0.25, 0.0], [1.0, 2.0, 3.0]),
        row("wrong", [2], [1.25], [6.0], 1),
        row("correct", [0, 2], [0.25, 0.25], [0.5, 0.0], 2),
        row("correct", [1, 2], [], [], 3),  # not scored: no teacher, or it runs in distill
    ]
    write_table("scores", rows, tmp_path / "scores.parquet")
    assert token_means(tmp_path / "scores.parquet") == {
        # token 0 of the first and of the third row
        "first": {"divergence": (0.5 + 0.25) / 2, "student_entropy": (1.0 + 0.5) / 2},
        # four tokens: (0.5 + 0.25 + 0 + 1.25) / 4 and (1 + 2 + 3 + 6) / 4
        "wrong": {"divergence": 0.5, "student_entropy": 3.0},
        "correct": {"divergence": 0.25, "student_entropy": 0.25},
    }


@pytest.mark.parametrize("divergence", [[], [0.5]])
def test_without_tokens_of_a_kind_there_is_no_mean(tmp_path, divergence):
    write_table("scores", [row("wrong", [2], divergence, divergence)], tmp_path / "s.parquet")
    means = token_means(tmp_path / "s.parquet")
    nothing = {"divergence": None, "student_entropy": None}
    assert (means["first"], means["correct"]) == (nothing, nothing)
    assert means["wrong"]["divergence"] == (divergence[0] if divergence else None)
