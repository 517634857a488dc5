import copy
import math

import pytest
import torch

from rosd_core.forward.hidden_states import MixPart, ModelMix
from rosd_core.sampling.engine import Decoding
from rosd_core.score.signs import base_kl, distribution_signs
from rosd_core.tables.io import read_table, write_table
from tests.score.test_parity import rollouts
from tests.score.test_token_means import row


def test_means_over_scored_tokens_by_hand(tmp_path):
    """Tails 0.5, 0.25 and 0.25 over three tokens; the row without targets does not count."""
    tails = [[math.log(0.5), math.log(0.25)], [math.log(0.25)], []]
    entropies = [[1.0, 2.0], [0.5], []]
    rows = [
        row("wrong", [0, 1][: len(tail)], [0.1] * len(tail), entropy)
        | {"tail_logp": tail, "rollout_id": f"p/{number}"}
        for number, (tail, entropy) in enumerate(zip(tails, entropies, strict=True))
    ]
    write_table("scores", rows, tmp_path / "scores.parquet")
    assert distribution_signs(tmp_path / "scores.parquet") == pytest.approx(
        {"tail_mass": 1 / 3, "student_entropy": 3.5 / 3}
    )


def test_nothing_scored_has_no_means(tmp_path):
    write_table("scores", [row("wrong", [0], [], [])], tmp_path / "scores.parquet")
    found = distribution_signs(tmp_path / "scores.parquet")
    assert found == {"tail_mass": None, "student_entropy": None}


def test_the_distance_to_the_base(tiny, tmp_path):
    """0 of a model to itself; to uniform logits, log V plus the mean log-prob of its samples."""
    path = tmp_path / "rollouts.parquet"
    rollouts(tiny, path, Decoding(1.0, 1.0, 8, True))
    assert base_kl(path, ModelMix((MixPart(tiny),), 0)) == pytest.approx(0, abs=1e-5)
    flat = copy.deepcopy(tiny)
    with torch.no_grad():
        flat.lm_head.weight.zero_()
    logps = read_table("rollouts", path)["student_logp"].explode().to_list()
    expected = math.log(len(flat.lm_head.weight)) + sum(logps) / len(logps)
    assert base_kl(path, ModelMix((MixPart(flat),), 0)) == pytest.approx(expected, abs=1e-5)
