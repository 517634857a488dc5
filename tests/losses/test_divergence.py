import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rosd_core.losses.divergence import jsd, kl
from rosd_core.losses.support import tail_logp, with_tail

LOG2, LOG3 = math.log(2), math.log(3)
S = torch.tensor([[0.5, 0.5]]).log()
T = torch.tensor([[0.25, 0.75]]).log()

distribution = st.lists(st.floats(0.01, 1), min_size=4, max_size=4).map(
    lambda weights: (torch.tensor([weights]) / sum(weights)).log()
)


def test_kl_by_hand():
    # KL(S||T) = 1/2 ln(1/2 / 1/4) + 1/2 ln(1/2 / 3/4) = ln 2 - 1/2 ln 3
    assert kl(S, T).item() == pytest.approx(LOG2 - LOG3 / 2, abs=1e-6)
    # KL(T||S) = 1/4 ln(1/2) + 3/4 ln(3/2) = 3/4 ln 3 - ln 2
    assert kl(T, S).item() == pytest.approx(0.75 * LOG3 - LOG2, abs=1e-6)


def test_jsd_by_hand():
    # M = (3/8, 5/8); KL(S||M) = 1/2 ln(4/3) + 1/2 ln(4/5); KL(T||M) = 1/4 ln(2/3) + 3/4 ln(6/5)
    s_m = 0.5 * math.log(4 / 3) + 0.5 * math.log(4 / 5)
    t_m = 0.25 * math.log(2 / 3) + 0.75 * math.log(6 / 5)
    assert jsd(S, T, 0.5).item() == pytest.approx((s_m + t_m) / 2, abs=1e-6)


def test_the_ends_are_the_two_kls_and_the_formula_jumps_there():
    assert jsd(S, T, 0.0).item() == pytest.approx(0.75 * LOG3 - LOG2, abs=1e-6)
    assert jsd(S, T, 1.0).item() == pytest.approx(LOG2 - LOG3 / 2, abs=1e-6)
    # near alpha = 0, JSD ~ alpha KL(T||S): a thousandth at alpha = 0.001
    ratio = jsd(S.double(), T.double(), 0.001).item() / jsd(S, T, 0.0).item()
    assert ratio == pytest.approx(0.001, rel=0.01)
    with pytest.raises(ValueError, match="alpha"):
        jsd(S, T, 1.5)


def test_tail_by_hand():
    # support 0.5 + 0.25, so the tail is 0.25
    support = torch.tensor([[0.5, 0.25]]).log()
    assert tail_logp(support).exp().item() == pytest.approx(0.25, abs=1e-6)
    # a support that holds everything: log(1 - exp(-1e-7)) = log(1e-7)
    assert tail_logp(S).item() == pytest.approx(math.log(1e-7), rel=1e-3)


def test_without_the_tail_a_top_k_forward_kl_can_be_negative_with_it_never():
    # T = (0.1, 0.9), S = (0.9, 0.1), support = the student's top id alone:
    # 0.1 ln(0.1/0.9) < 0; with the tail it is the full 0.1 ln(1/9) + 0.9 ln 9 = 0.8 ln 9
    student, teacher = torch.tensor([[0.9]]).log(), torch.tensor([[0.1]]).log()
    assert kl(teacher, student).item() < 0
    full = jsd(with_tail(student), with_tail(teacher), 0.0).item()
    assert full == pytest.approx(0.8 * math.log(9), abs=1e-5)


@given(distribution, distribution, st.floats(0, 1))
def test_jsd_is_not_negative_and_zero_only_for_equal(p, q, alpha):
    assert jsd(p, q, alpha).item() >= -1e-6
    assert abs(jsd(p, p, alpha).item()) < 1e-6


@given(distribution, distribution)
def test_jsd_is_symmetric_and_at_most_log_two_at_one_half(p, q):
    assert jsd(p, q, 0.5).item() == pytest.approx(jsd(q, p, 0.5).item(), abs=1e-6)
    assert jsd(p, q, 0.5).item() <= LOG2 + 1e-6
