"""The chunked head against autograd of the naive formulas, by every loss, support and clip."""

import math
from dataclasses import replace

import pytest
import torch

from rosd_core.errors import RosdError
from rosd_core.losses import head
from rosd_core.losses import head_loss as head_losses
from rosd_core.losses.chunked import Targets
from rosd_core.losses.divergence import jsd
from rosd_core.losses.head import Head
from rosd_core.losses.head_loss import head_loss
from rosd_core.losses.support import choose_support, renormalised, tail_logp, with_tail
from rosd_core.losses.token_losses import LOSSES, LossSettings
from tests.support import LOSS

N, H, V, K = 7, 5, 23, 4


def loss_settings(**changes) -> LossSettings:
    return replace(LOSS, **changes)


def problem(seed=0, dtype=torch.float64):
    """Hidden states, heads and targets; the behaviour is close to the student, some tokens above
    the clip and some below."""
    g = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=g, dtype=dtype)

    hidden, weight, bias = draw(N, H), draw(V, H), draw(V)
    teacher_hidden, teacher = draw(N, H), Head(draw(V, H))
    token = torch.randint(0, V, (N,), generator=g)
    logp = (hidden @ weight.t() + bias).log_softmax(-1).gather(1, token.unsqueeze(1)).squeeze(1)
    behaviour = logp + torch.tensor([0.0, -1, 1, 0.1, -0.1, -2, 2], dtype=dtype)
    weights = torch.tensor([1.0, 2, -1, 1, 0.5, 1, 1], dtype=dtype)
    own = torch.tensor([1.0, 0.5, 1, 0, 0.5, 1, 1], dtype=dtype)
    targets = Targets(token, behaviour, weights, own_weight_N=own)
    return hidden, Head(weight, bias), teacher_hidden, teacher, targets


def distance(s, t, settings):
    """From student to teacher over the same buckets, by the definition of the loss."""
    if settings.loss == "divergence":
        return jsd(s, t, settings.alpha, settings.entry_clip)
    mix = (settings.alpha * t.exp() + (1 - settings.alpha) * s.exp()).log()
    entries = t.exp() * (t - mix)
    return (entries if settings.entry_clip is None else entries.clamp(max=settings.entry_clip)).sum(
        -1
    )


def naive(hidden, own, teacher_hidden, teacher, targets, settings, support=None):
    """The same loss from (N, V) log-probabilities, by the definitions."""
    s = (hidden @ own.matrix_VH.t() + own.bias_V).log_softmax(-1)
    t = (teacher_hidden @ teacher.matrix_VH.t()).log_softmax(-1)
    token = s.gather(1, targets.token_N.unsqueeze(1)).squeeze(1)
    ratio = (token - targets.behaviour_N).exp()
    if settings.loss == "cross_entropy":
        return (-targets.weight_N * token).sum()
    if settings.loss in ("policy_gradient", "policy_gradient_kl", "fixed_advantage"):
        r = targets.weight_N
        if settings.loss == "fixed_advantage":
            r = torch.where(targets.behaviour_N.exp() < settings.unlikely, -r, 0)
        low, high = 1 - settings.policy_clip, 1 + settings.policy_clip
        gained = torch.minimum(ratio * r, ratio.clamp(low, high) * r).sum()
        if settings.loss != "policy_gradient_kl":
            return -gained
        other = t.gather(1, targets.token_N.unsqueeze(1)).squeeze(1)
        k3 = (other - token).exp() - (other - token) - 1
        return -gained + settings.kl_weight * (targets.own_weight_N * k3).sum()
    weight = targets.weight_N * ratio.detach().clamp(max=settings.importance_clip)
    if settings.loss == "sampled_token":
        gain = t.gather(1, targets.token_N.unsqueeze(1)).squeeze(1) - token.detach()
        return -(weight * gain * token).sum()
    if settings.support == "full":
        return (weight * distance(s, t, settings)).sum()
    ids = choose_support(s, t, settings.support, settings.top_k) if support is None else support
    of = with_tail if settings.tail == "bucket" else renormalised
    both = of(s.gather(1, ids)), of(t.gather(1, ids))
    return (weight * distance(*both, settings)).sum()


CASES = [
    loss_settings(
        loss=loss, alpha=alpha, tail=tail, entry_clip=clip, support=support, top_k=K
    )
    for loss, alphas in (("divergence", (0.0, 0.3, 0.5, 1.0)), ("skew_kl", (0.0, 0.3)))
    for alpha in alphas
    for clip in (None, 0.05)
    for support, tail in [
        ("student", "bucket"), ("teacher", "bucket"), ("union", "bucket"),
        ("student", "renormalised"), ("full", "bucket"),
    ]
]  # fmt: skip
CASES += [
    loss_settings(loss=loss) for loss in ("cross_entropy", "policy_gradient", "sampled_token")
]
CASES += [
    loss_settings(loss="policy_gradient_kl", kl_weight=0.3),
    loss_settings(loss="fixed_advantage", unlikely=0.05),
]


@pytest.mark.parametrize(("size", "block"), [(N, N), (5, 2)])
@pytest.mark.parametrize("settings", CASES, ids=str)
def test_loss_and_gradients_are_those_of_the_naive_formula(monkeypatch, settings, size, block):
    """In one chunk, and in chunks of 5 and 2 tokens with blocks of 2, 2, 1 and 2;
    fp32 logits of the chunked head against fp64 of the naive one."""
    monkeypatch.setattr(head, "CHUNK_ENTRIES", 1)
    monkeypatch.setitem(head.TRAINED_ROWS, "cpu", size)
    monkeypatch.setitem(head_losses.BLOCK_ROWS, "cpu", block)
    hidden, own, teacher_hidden, teacher, targets = problem()
    leaves = [hidden, own.matrix_VH, own.bias_V]
    for leaf in leaves:
        leaf.requires_grad_()
    expected = naive(hidden, own, teacher_hidden, teacher, targets, settings) / 3
    gradients = torch.autograd.grad(2 * expected, leaves)
    live = replace(targets, hidden_NH=teacher_hidden)
    loss, _ = head_loss(hidden, own, live, settings, teacher, scale=3)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5, abs=1e-6)
    for found, want in zip(torch.autograd.grad(2 * loss, leaves), gradients, strict=True):
        assert torch.allclose(found, want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_stored_targets_give_what_the_live_teacher_gives(alpha):
    hidden, own, teacher_hidden, teacher, targets = problem()
    settings = loss_settings(alpha=alpha, top_k=K)
    ids = own.logits(hidden).topk(K).indices
    logp = teacher.logits(teacher_hidden).log_softmax(-1).gather(1, ids)
    stored = replace(targets, support_NK=ids, teacher_NK=logp)
    live = replace(targets, hidden_NH=teacher_hidden)
    assert head_loss(hidden, own, stored, settings)[0].item() == pytest.approx(
        head_loss(hidden, own, live, settings, teacher)[0].item(), rel=1e-6
    )


@pytest.mark.parametrize("sure", [6.0, 12.0, 15.0])
@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_a_student_that_is_nearly_sure_is_still_pulled_out_of_its_support(alpha, sure):
    """In fp32 1 - sum p keeps no digits of a tail of 1e-6; the gradient of the forward KL divides
    by that tail. Against the formula in fp64."""
    g = torch.Generator().manual_seed(2)
    logits = torch.randn(5, 60, generator=g)
    logits[:, :K] += sure
    support = logits.topk(K).indices
    teacher = torch.randn(5, 60, generator=g).log_softmax(-1).gather(1, support)
    token, one = support[:, 0], torch.ones(5)
    behaviour = logits.log_softmax(-1).gather(1, support[:, :1])[:, 0]
    hidden = logits.clone().requires_grad_()
    targets = Targets(
        token, behaviour, one, support_NK=support, teacher_NK=teacher, tail_N=tail_logp(teacher)
    )
    settings = loss_settings(alpha=alpha, top_k=K)
    head_loss(hidden, Head(torch.eye(60)), targets, settings)[0].backward()
    exact = logits.double().requires_grad_()
    s = exact.log_softmax(-1)
    outside = s.scatter(1, support, -math.inf).logsumexp(-1)
    t = with_tail(teacher.double(), tail_logp(teacher).double())
    jsd(with_tail(s.gather(1, support), outside), t, alpha).sum().backward()
    assert outside.max() < -2
    assert hidden.grad is not None
    assert exact.grad is not None
    gap = (hidden.grad - exact.grad).norm() / exact.grad.norm()
    assert gap < 1e-4


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("clip", [None, 0.05])
def test_a_loss_without_a_gradient_of_its_own_gets_the_same_from_autograd(monkeypatch, alpha, clip):
    """Support `full`: the divergence in place against the same function by autograd."""
    hidden, own, teacher_hidden, teacher, targets = problem(dtype=torch.float32)
    own.matrix_VH.requires_grad_()
    live = replace(targets, hidden_NH=teacher_hidden)
    settings = loss_settings(alpha=alpha, support="full", entry_clip=clip)
    in_place, _ = head_loss(hidden, own, live, settings, teacher)
    entry = replace(LOSSES["divergence"], whole_vocabulary=None)
    monkeypatch.setitem(LOSSES, "divergence", entry)
    by_autograd, _ = head_loss(hidden, own, live, settings, teacher)
    assert in_place.item() == pytest.approx(by_autograd.item(), rel=1e-5)
    one, two = (torch.autograd.grad(x, own.matrix_VH)[0] for x in (in_place, by_autograd))
    assert torch.allclose(one, two, rtol=1e-4, atol=1e-5)


def test_the_union_holds_each_id_once_and_both_tops():
    s, t = torch.tensor([[4.0, 3, 2, 1, 0]]), torch.tensor([[0.0, 5, 1, 4, 3]])
    # the student's top 2 are 0 and 1; of the others 2, 3, 4 the teacher likes 3 and 4 best
    assert choose_support(s, t, "union", 2).tolist() == [[0, 1, 3, 4]]
    assert choose_support(s, t, "student", 2).tolist() == [[0, 1]]
    assert choose_support(s, t, "teacher", 2).tolist() == [[1, 3]]


def test_bfloat16_autocast_stays_close_and_finite():
    """bf16 has 8 bits: logits of size 3 are off by about 0.01, the loss by a few per cent."""
    hidden, own, teacher_hidden, teacher, targets = problem(dtype=torch.float32)
    own.matrix_VH.requires_grad_()
    live = replace(targets, hidden_NH=teacher_hidden)
    changes = {"support": "full"}, {"top_k": K}, {"loss": "cross_entropy"}
    for settings in (loss_settings(**change) for change in changes):
        exact, _ = head_loss(hidden, own, live, settings, teacher)
        with torch.autocast("cpu", torch.bfloat16):
            close, _ = head_loss(hidden, own, live, settings, teacher)
        want, found = (torch.autograd.grad(x, own.matrix_VH)[0] for x in (exact, close))
        assert close.item() == pytest.approx(exact.item(), rel=0.05, abs=0.05)
        assert found.dtype == torch.float32
        assert (want - found).norm() < 0.05 * want.norm()


def test_extreme_logits_give_finite_losses_and_gradients():
    """Certain and impossible ids: probabilities underflow to 0 in fp32."""
    hidden = torch.tensor([[400.0, 0.0], [0.0, 400.0]], requires_grad=True)
    teacher_hidden = torch.tensor([[-400.0, 0.0], [0.0, 400.0]])
    weight = torch.eye(2).repeat(3, 1)[:5].contiguous()
    targets = Targets(torch.tensor([0, 1]), torch.zeros(2), torch.ones(2), hidden_NH=teacher_hidden)
    for support in ("full", "student", "union"):
        for alpha in (0.0, 0.5, 1.0):
            settings = loss_settings(alpha=alpha, support=support, top_k=2)
            loss, _ = head_loss(hidden, Head(weight), targets, settings, Head(weight))
            (gradient,) = torch.autograd.grad(loss, hidden)
            assert math.isfinite(loss.item()), settings
            assert gradient.isfinite().all(), settings


def test_a_loss_without_its_teacher_is_refused():
    hidden, own, _, _, targets = problem()
    changes = {}, {"support": "full"}, {"loss": "sampled_token"}
    for settings in (loss_settings(**change) for change in changes):
        with pytest.raises(RosdError, match="needs a teacher"):
            head_loss(hidden, own, targets, settings)


def test_every_loss_is_compared_with_its_naive_formula():
    assert {case.loss for case in CASES} == set(LOSSES)
