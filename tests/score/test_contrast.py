"""The contrastive teacher against three plain passes, and which wrong response it reads."""

import pytest
import torch

from rosd_core.config.load import load_params
from rosd_core.errors import RosdError
from rosd_core.forward.hidden_states import MixPart, ModelMix
from rosd_core.score.contrast import Contrasted, contrasted
from tests.support import write_params

RIGHT, WRONG, PLAIN, RESPONSE = (5, 6, 7, 11), (5, 6, 7, 12, 13), (5, 6), (8, 9, 2)


def logits(model, prompt, response) -> torch.Tensor:
    """Those that predict the response's tokens, from one plain forward pass."""
    with torch.no_grad():
        z = model(torch.tensor([[*prompt, *response]])).logits[0]
    return z[len(prompt) - 1 : len(prompt) + len(response) - 1]


def test_what_a_wrong_response_does_is_subtracted_from_the_logits(tiny):
    mix = ModelMix((MixPart(tiny),), 0)
    teacher = Contrasted(mix.parts, 0, 0.5, {(RIGHT, RESPONSE): (WRONG, PLAIN)})
    rows = [([*RIGHT], [*RESPONSE], [0, 1, 2]), ([*PLAIN], [*RESPONSE], [1])]
    found = teacher.head().logits(teacher.hidden(rows))
    right, wrong, plain = (logits(tiny, prompt, RESPONSE) for prompt in (RIGHT, WRONG, PLAIN))
    torch.testing.assert_close(found[:3], right - 0.5 * (wrong - plain), atol=1e-4, rtol=1e-4)
    # the second row has no wrong response beside it
    torch.testing.assert_close(found[3:], plain[1:2], atol=1e-4, rtol=1e-4)


def test_without_contrast_the_teacher_is_itself(tiny):
    mix = ModelMix((MixPart(tiny),), 0)
    assert contrasted(mix, None, [], 0.0, 1) is mix  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    "changes",
    [
        {"align": {"teacher_context": "idea"}},
        {"align": {"teacher_context": "peer"}, "distill": {}, "score": {"targets": "hidden"}},
    ],
)
def test_params_that_cannot_be_contrasted_are_refused(tmp_path, changes):
    score = {"contrast": 0.5} | changes.get("score", {})
    with pytest.raises(RosdError, match=r"score\.contrast needs score\.targets topk"):
        load_params(write_params(tmp_path, changes | {"score": score}))


def test_shares_of_a_contrast_of_equal_prompts_cancel(tiny):
    mix = ModelMix((MixPart(tiny),), 0)
    teacher = Contrasted(mix.parts, 0, 2.0, {})
    rows = [([*RIGHT], [*RESPONSE], [0, 2])]
    plain = mix.head().logits(mix.hidden(rows))
    torch.testing.assert_close(
        teacher.head().logits(teacher.hidden(rows)), plain, atol=1e-4, rtol=1e-4
    )
