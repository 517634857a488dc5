"""The functions of the table LOSSES, with numbers by hand."""

import math
from dataclasses import replace
from typing import get_args

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rosd_core.config.training import Distill
from rosd_core.losses.token_losses import LOSSES, TokenInputs
from tests.support import LOSS

LOG2 = math.log(2)


def inputs(student=0.5, behaviour=0.5, weight=1.0, teacher=0.25) -> TokenInputs:
    """One token, and two buckets: its own and all others."""

    def buckets(p: float) -> torch.Tensor:
        return torch.tensor([[p, 1 - p]]).log()

    student_nC = buckets(student).requires_grad_()
    return TokenInputs(
        student_nC[:, 0],
        torch.tensor([behaviour]).log(),
        torch.tensor([weight]),
        torch.tensor([teacher]).log(),
        student_nC,
        buckets(teacher),
    )


def value(name: str, tokens: TokenInputs, **settings) -> float:
    return LOSSES[name].function(tokens, replace(LOSS, loss=name, **settings)).item()


def test_params_know_every_loss_and_no_other():
    assert set(get_args(Distill.model_fields["loss"].annotation)) == set(LOSSES)


def test_the_divergence_by_hand():
    # alpha 0 is KL(T||S) = 1/4 ln(1/2) + 3/4 ln(3/2) = 3/4 ln 3 - ln 2; rho = 1
    forward = 0.75 * math.log(3) - LOG2
    assert value("divergence", inputs(), alpha=0.0) == pytest.approx(forward, abs=1e-6)
    # rho = 1/2 : 1/8 = 4 is clipped at 2; the row weight is 3
    weighted = value("divergence", inputs(behaviour=0.125, weight=3.0), alpha=0.0)
    assert weighted == pytest.approx(3 * 2 * forward, abs=1e-5)


def test_the_skewed_kl_by_hand():
    # alpha 1/2: M = (3/8, 5/8), KL(T||M) = 1/4 ln(2/3) + 3/4 ln(6/5)
    half = 0.25 * math.log(2 / 3) + 0.75 * math.log(6 / 5)
    assert value("skew_kl", inputs(), alpha=0.5) == pytest.approx(half, abs=1e-6)
    # alpha 0 is the forward KL, and alpha 1 compares the teacher with itself
    forward = value("divergence", inputs(), alpha=0.0)
    assert value("skew_kl", inputs(), alpha=0.0) == pytest.approx(forward, abs=1e-6)
    assert value("skew_kl", inputs(), alpha=1.0) == pytest.approx(0, abs=1e-6)
    # entries: 1/4 ln(2/3) < 0 stays, 3/4 ln(6/5) = 0.137 is clipped at 0.1
    clipped = value("skew_kl", inputs(), alpha=0.5, entry_clip=0.1)
    assert clipped == pytest.approx(0.25 * math.log(2 / 3) + 0.1, abs=1e-6)
    # bounded by -ln alpha where the student is as good as sure of something else
    sure = inputs(student=1e-30, behaviour=1e-30, teacher=0.999)
    assert value("divergence", sure, alpha=0.0) > 60
    assert value("skew_kl", sure, alpha=0.1) <= -math.log(0.1) + 1e-6


def test_the_sampled_token_by_hand():
    # -(log 1/4 - log 1/2) log 1/2 = -(-ln 2)(-ln 2)
    assert value("sampled_token", inputs()) == pytest.approx(-(LOG2**2), abs=1e-6)
    # gradient by log S: -(log T - log S) = ln 2, since the bracket is constant
    tokens = inputs()
    loss = LOSSES["sampled_token"].function(tokens, LOSS)
    assert tokens.student_nC is not None
    (gradient,) = torch.autograd.grad(loss, tokens.student_nC)
    assert gradient[0, 0].item() == pytest.approx(LOG2, abs=1e-6)


def test_cross_entropy_and_policy_gradient_by_hand():
    assert value("cross_entropy", inputs(weight=2.0)) == pytest.approx(2 * LOG2, abs=1e-6)
    # rho = 2: praised it counts as 1.2, blamed as 2
    praised, blamed = (inputs(behaviour=0.25, weight=w) for w in (1.0, -1.0))
    assert value("policy_gradient", praised) == pytest.approx(-1.2, abs=1e-6)
    assert value("policy_gradient", blamed) == pytest.approx(2.0, abs=1e-6)


RATIOS = torch.tensor([0.5, 0.5, 1.1, 3.0, 3.0])
WEIGHTS = torch.tensor([1.0, -1, 1, 1, -1])


@pytest.mark.parametrize(
    ("name", "applied", "clipped"),
    [
        # importance_clip 2 clips 3 alone
        ("divergence", [0.5, 0.5, 1.1, 2, 2], [False, False, False, True, True]),
        ("skew_kl", [0.5, 0.5, 1.1, 2, 2], [False, False, False, True, True]),
        ("sampled_token", [0.5, 0.5, 1.1, 2, 2], [False, False, False, True, True]),
        # policy_clip 0.2 clips 3 where the row is praised, and 0.5 where it is blamed
        ("policy_gradient", [0.5, 0.5, 1.1, 3, 3], [False, True, False, True, False]),
        ("policy_gradient_kl", [0.5, 0.5, 1.1, 3, 3], [False, True, False, True, False]),
        # probabilities of 0.1 when sampled are unlikely, so signs turn round
        ("fixed_advantage", [0.5, 0.5, 1.1, 3, 3], [True, False, False, False, True]),
        # it does not depend on how its tokens were sampled
        ("cross_entropy", [1, 1, 1, 1, 1], [False] * 5),
    ],
)
def test_what_is_applied_and_what_is_clipped(name, applied, clipped):
    behaviour = torch.full((5,), 0.1).log()
    tokens = TokenInputs(behaviour + RATIOS.log(), behaviour, WEIGHTS)
    found = LOSSES[name].importance(tokens, replace(LOSS, loss=name))
    assert found[0].tolist() == pytest.approx(applied)
    assert found[1].tolist() == clipped


def test_a_clipped_token_of_the_policy_gradient_has_no_gradient():
    for ratio, weight in zip(RATIOS.tolist(), WEIGHTS.tolist(), strict=True):
        tokens = inputs(behaviour=0.5 / ratio, weight=weight)
        _, clipped = LOSSES["policy_gradient"].importance(tokens, LOSS)
        assert (gradient("policy_gradient", tokens).abs().max() == 0) == bool(clipped)


def gradient(name: str, tokens: TokenInputs) -> torch.Tensor:
    assert tokens.student_nC is not None
    loss = LOSSES[name].function(tokens, replace(LOSS, loss=name))
    return torch.autograd.grad(loss, tokens.student_nC)[0]


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_moves_the_student(name):
    assert gradient(name, inputs(student=0.15, behaviour=0.15)).abs().max() > 0


def test_a_policy_gradient_with_an_anchor_by_hand():
    # S = 1/2, T = 1/4: k3 = 1/2 - ln(1/2) - 1 = ln 2 - 1/2; the policy gradient is -rho r = -3
    k3 = LOG2 - 0.5
    found = value("policy_gradient_kl", inputs(weight=3.0), kl_weight=0.5)
    assert found == pytest.approx(-3 + 0.5 * k3, abs=1e-6)
    # r = 3 is a row weight of 6 times the token's own of 1/2, which scales the anchor alone
    own = replace(inputs(weight=3.0), own_weight_n=torch.tensor([0.5]))
    assert value("policy_gradient_kl", own, kl_weight=0.5) == pytest.approx(
        -3 + 0.25 * k3, abs=1e-6
    )
    # gradient by log S of k3: 1 - T/S = 1/2, of rho r: 3
    slope = gradient("policy_gradient_kl", inputs(weight=3.0))[0, 0].item()
    assert slope == pytest.approx(-3 + LOSS.kl_weight / 2, abs=1e-6)


@given(st.floats(0.001, 0.999), st.floats(0.001, 0.999))
def test_an_anchor_is_never_negative(student, teacher):
    tokens = inputs(student=student, behaviour=student, weight=0.0, teacher=teacher)
    assert value("policy_gradient_kl", tokens, kl_weight=1.0) >= -1e-6
    same = inputs(student=student, behaviour=student, weight=0.0, teacher=student)
    assert value("policy_gradient_kl", same, kl_weight=1.0) == pytest.approx(0, abs=1e-6)


def test_a_fixed_advantage_by_hand():
    # sampled with 0.1 < 0.2: advantage -1. rho = 0.15 : 0.1 = 1.5 is blamed in full
    assert value("fixed_advantage", inputs(0.15, 0.1)) == pytest.approx(1.5, abs=1e-5)
    # rho = 0.05 : 0.1 = 1/2 is clipped at 0.8, without gradient
    assert value("fixed_advantage", inputs(0.05, 0.1)) == pytest.approx(0.8, abs=1e-5)
    assert gradient("fixed_advantage", inputs(0.05, 0.1)).abs().max() == 0
    # sampled with 1/2: advantage 0, also where it has become unlikely since
    for student in (0.5, 0.1):
        assert value("fixed_advantage", inputs(student, 0.5)) == 0
        assert gradient("fixed_advantage", inputs(student, 0.5)).abs().max() == 0
    # the row weight is a factor: of a token weight, or of a pass rate
    assert value("fixed_advantage", inputs(0.1, 0.1, 0.5)) == pytest.approx(0.5, abs=1e-6)


def test_the_importance_of_a_divergence_is_a_factor_without_gradient():
    # rho = 1.5, below the clip
    plain, weighted = gradient("divergence", inputs()), gradient("divergence", inputs(0.5, 1 / 3))
    assert torch.allclose(weighted, 1.5 * plain)
