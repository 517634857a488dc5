"""The chunked head against autograd of the naive formulas, by every loss, support and clip."""

import math

import pytest
import torch

from rosd_core.errors import RosdError
from rosd_core.losses import head
from rosd_core.losses.divergence import choose_support, jsd, renormalised, tail_logp, with_tail
from rosd_core.losses.head import Head, Targets, TokenLoss, head_loss

N, H, V, K = 7, 5, 23, 4


def problem(seed=0, dtype=torch.float64):
    """Hidden states, heads and targets; the behaviour is close to the student, some tokens above
    the clip and some below."""
    g = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=g, dtype=dtype)

    hidden, weight, bias = draw(N, H), draw(V, H), draw(V)
    taught, teacher = draw(N, H), Head(draw(V, H))
    token = torch.randint(0, V, (N,), generator=g)
    logp = (hidden @ weight.t() + bias).log_softmax(-1).gather(1, token.unsqueeze(1)).squeeze(1)
    behaviour = logp + torch.tensor([0.0, -1, 1, 0.1, -0.1, -2, 2], dtype=dtype)
    weights = torch.tensor([1.0, 2, -1, 1, 0.5, 1, 1], dtype=dtype)
    return hidden, Head(weight, bias), taught, teacher, Targets(token, behaviour, weights)


def naive(hidden, own, taught, teacher, known, how, support=None):
    """The same loss from (N, V) log-probabilities, by the definitions."""
    s = (hidden @ own.weight_VH.t() + own.bias_V).log_softmax(-1)
    t = (taught @ teacher.weight_VH.t()).log_softmax(-1)
    token = s.gather(1, known.token_N.unsqueeze(1)).squeeze(1)
    ratio = (token - known.behaviour_N).exp()
    if how.loss == "cross_entropy":
        return (-known.weight_N * token).sum()
    if how.loss == "policy_gradient":
        r = known.weight_N
        low, high = 1 - how.policy_clip, 1 + how.policy_clip
        return -torch.minimum(ratio * r, ratio.clamp(low, high) * r).sum()
    weight = known.weight_N * ratio.detach().clamp(max=how.importance_clip)
    if how.loss == "sampled_token":
        gain = t.gather(1, known.token_N.unsqueeze(1)).squeeze(1) - token.detach()
        return -(weight * gain * token).sum()
    if how.support == "full":
        return (weight * jsd(s, t, how.alpha, how.entry_clip)).sum()
    ids = choose_support(s, t, how.support, how.top_k) if support is None else support
    of = with_tail if how.tail == "bucket" else renormalised
    both = of(s.gather(1, ids)), of(t.gather(1, ids))
    return (weight * jsd(*both, how.alpha, how.entry_clip)).sum()


CASES = [
    TokenLoss(alpha=alpha, tail=tail, entry_clip=clip, support=support, top_k=K)
    for alpha in (0.0, 0.3, 0.5, 1.0)
    for clip in (math.inf, 0.05)
    for support, tail in [
        ("student", "bucket"), ("teacher", "bucket"), ("union", "bucket"),
        ("student", "renormalised"), ("full", "bucket"),
    ]
] + [TokenLoss(loss) for loss in ("cross_entropy", "policy_gradient", "sampled_token")]  # fmt: skip


@pytest.mark.parametrize("size", [N, 2])
@pytest.mark.parametrize("how", CASES, ids=str)
def test_loss_and_gradients_are_those_of_the_naive_formula(monkeypatch, how, size):
    """fp32 logits of the chunked head against fp64 of the naive one."""
    monkeypatch.setattr(head, "CHUNK_ENTRIES", 1)
    monkeypatch.setitem(head.CHUNK_ROWS, "cpu", size)
    hidden, own, taught, teacher, known = problem()
    leaves = [hidden, own.weight_VH, own.bias_V]
    for leaf in leaves:
        leaf.requires_grad_()
    expected = naive(hidden, own, taught, teacher, known, how) / 3
    gradients = torch.autograd.grad(2 * expected, leaves)
    live = Targets(known.token_N, known.behaviour_N, known.weight_N, hidden_NH=taught)
    loss, _ = head_loss(hidden, own, live, how, teacher, scale=3)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5, abs=1e-6)
    for found, want in zip(torch.autograd.grad(2 * loss, leaves), gradients, strict=True):
        assert torch.allclose(found, want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_stored_targets_give_what_the_live_teacher_gives(alpha):
    hidden, own, taught, teacher, known = problem()
    how = TokenLoss(alpha=alpha, top_k=K)
    ids = own.logits(hidden).topk(K).indices
    logp = teacher.logits(taught).log_softmax(-1).gather(1, ids)
    stored = Targets(known.token_N, known.behaviour_N, known.weight_N, ids, logp)
    live = Targets(known.token_N, known.behaviour_N, known.weight_N, hidden_NH=taught)
    assert head_loss(hidden, own, stored, how)[0].item() == pytest.approx(
        head_loss(hidden, own, live, how, teacher)[0].item(), rel=1e-6
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
    known = Targets(token, behaviour, one, support, teacher, tail_logp(teacher))
    head_loss(hidden, Head(torch.eye(60)), known, TokenLoss(alpha=alpha, top_k=K))[0].backward()
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


def test_what_clips_is_what_the_loss_clips():
    """importance_clip 2 clips 3 alone; policy_clip 0.2 clips what leads further away: 3 where it is
    praised, 0.5 where it is blamed. Cross-entropy weighs nothing."""
    ratio, weight = torch.tensor([0.5, 0.5, 1.1, 3.0, 3.0]), torch.tensor([1.0, -1, 1, 1, -1])
    applied, clipped = TokenLoss().staleness(ratio, weight)
    assert applied.tolist() == pytest.approx([0.5, 0.5, 1.1, 2, 2])
    assert clipped.tolist() == [False, False, False, True, True]
    _, clipped = TokenLoss("policy_gradient").staleness(ratio, weight)
    assert clipped.tolist() == [False, True, False, True, False]
    applied, clipped = TokenLoss("cross_entropy").staleness(ratio, weight)
    assert applied.tolist() == [1.0] * 5
    assert not clipped.any()


def test_the_union_holds_each_id_once_and_both_tops():
    s, t = torch.tensor([[4.0, 3, 2, 1, 0]]), torch.tensor([[0.0, 5, 1, 4, 3]])
    # the student's top 2 are 0 and 1; of the others 2, 3, 4 the teacher likes 3 and 4 best
    assert choose_support(s, t, "union", 2).tolist() == [[0, 1, 3, 4]]
    assert choose_support(s, t, "student", 2).tolist() == [[0, 1]]
    assert choose_support(s, t, "teacher", 2).tolist() == [[1, 3]]


def test_bfloat16_autocast_stays_close_and_finite():
    """bf16 has 8 bits: logits of size 3 are off by about 0.01, the loss by a few per cent."""
    hidden, own, taught, teacher, known = problem(dtype=torch.float32)
    own.weight_VH.requires_grad_()
    live = Targets(known.token_N, known.behaviour_N, known.weight_N, hidden_NH=taught)
    for how in (TokenLoss(support="full"), TokenLoss(top_k=K), TokenLoss("cross_entropy")):
        exact, _ = head_loss(hidden, own, live, how, teacher)
        with torch.autocast("cpu", torch.bfloat16):
            close, _ = head_loss(hidden, own, live, how, teacher)
        want, found = (torch.autograd.grad(x, own.weight_VH)[0] for x in (exact, close))
        assert close.item() == pytest.approx(exact.item(), rel=0.05, abs=0.05)
        assert found.dtype == torch.float32
        assert (want - found).norm() < 0.05 * want.norm()


def test_extreme_logits_give_finite_losses_and_gradients():
    """Certain and impossible ids: probabilities underflow to 0 in fp32."""
    hidden = torch.tensor([[400.0, 0.0], [0.0, 400.0]], requires_grad=True)
    taught = torch.tensor([[-400.0, 0.0], [0.0, 400.0]])
    weight = torch.eye(2).repeat(3, 1)[:5].contiguous()
    known = Targets(torch.tensor([0, 1]), torch.zeros(2), torch.ones(2), hidden_NH=taught)
    for support in ("full", "student", "union"):
        for alpha in (0.0, 0.5, 1.0):
            how = TokenLoss(alpha=alpha, support=support, top_k=2)
            loss, _ = head_loss(hidden, Head(weight), known, how, Head(weight))
            (gradient,) = torch.autograd.grad(loss, hidden)
            assert math.isfinite(loss.item()), how
            assert gradient.isfinite().all(), how


def test_a_loss_without_its_teacher_is_refused():
    hidden, own, _, _, known = problem()
    for how in (TokenLoss(), TokenLoss(support="full"), TokenLoss("sampled_token")):
        with pytest.raises(RosdError, match="needs a teacher"):
            head_loss(hidden, own, known, how)
