"""Ideas are tried on correct responses, with numbers by hand."""

from typing import Any

import pytest
import torch

from rosd_core.forward.hidden_states import MixPart, ModelMix
from rosd_core.score.idea_check import Trial, idea_gains, mean_logp, reject_ideas


def by_hand(model, prompt, response) -> float:
    """Mean log-probability of a response from one plain forward pass."""
    with torch.no_grad():
        logp = model(torch.tensor([[*prompt, *response]])).logits[0].log_softmax(-1)
    at = range(len(prompt) - 1, len(prompt) + len(response) - 1)
    return sum(float(logp[t, y]) for t, y in zip(at, response, strict=True)) / len(response)


def test_the_gain_is_the_difference_of_two_plain_passes(tiny):
    mix = ModelMix((MixPart(tiny),), 0)
    # two ideas on the same correct response, and one on a shorter response of another problem
    trials = {
        "p/0": Trial([5, 6, 7, 11], [5, 6, 7], [8, 9, 2]),
        "p/1": Trial([5, 6, 7, 12, 13], [5, 6, 7], [8, 9, 2]),
        "q/0": Trial([4, 14], [4], [9, 2]),
    }
    found = idea_gains(trials, mix, 100)
    for name, t in trials.items():
        expected = by_hand(tiny, t.with_idea, t.response_ids) - by_hand(
            tiny, t.plain, t.response_ids
        )
        assert found[name] == pytest.approx(expected, abs=1e-5)
    assert idea_gains(trials, mix, 1) == pytest.approx(found, abs=1e-5)  # row by row


def test_an_idea_that_changes_nothing_gains_nothing(tiny):
    mix = ModelMix((MixPart(tiny),), 0)
    assert idea_gains({"p/0": Trial([5, 6], [5, 6], [8, 2])}, mix, 100)["p/0"] == 0
    assert idea_gains({}, mix, 100) == {}
    assert mean_logp([], mix, 100) == []


def test_a_peer_beyond_the_context_is_not_measured(tiny):
    mix = ModelMix((MixPart(tiny),), 0)  # its context has 128 tokens
    fits, long = Trial([5] * 126, [5], [8, 2]), Trial([5] * 127, [5], [8, 2])
    assert set(idea_gains({"p/0": fits, "p/1": long}, mix, 500)) == {"p/0"}


def test_only_ideas_with_a_gain_above_zero_teach():
    rows: Any = [{"rollout_id": f"p/{n}", "status": "scored"} for n in range(4)]
    reject_ideas(rows, {"p/0": 0.2, "p/1": 0.0, "p/2": -0.1})
    assert [r["status"] for r in rows] == ["scored", "idea_rejected", "idea_rejected", "scored"]
    assert [r["idea_gain"] for r in rows] == [0.2, 0.0, -0.1, None]
