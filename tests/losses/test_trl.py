"""Our loss and its gradient against TRL's published functions, on the same logits."""

from dataclasses import replace

import pytest
import torch

from rosd_core.losses.chunked import Targets
from rosd_core.losses.head import Head
from rosd_core.losses.head_loss import head_loss
from tests.support import LOSS

pytest.importorskip("trl", reason="trl is not installed: pip install -e '.[trl]'")

N, H, V, K = 6, 8, 50, 5


def problem():
    g = torch.Generator().manual_seed(1)
    hidden, teacher_hidden = (torch.randn(N, H, generator=g) for _ in range(2))
    weight, other = (torch.randn(V, H, generator=g) for _ in range(2))
    token = torch.randint(0, V, (N,), generator=g)
    behaviour = torch.full((N,), -4.0)
    return hidden.requires_grad_(), weight.requires_grad_(), teacher_hidden, other, token, behaviour


def both(expected, hidden, weight, targets, settings, teacher):
    """The sum of TRL's per-token losses and ours, with both gradients."""
    loss, _ = head_loss(hidden, Head(weight), targets, settings, teacher)
    ours = torch.autograd.grad(loss, (hidden, weight))
    theirs = torch.autograd.grad(expected.sum(), (hidden, weight))
    assert loss.item() == pytest.approx(expected.sum().item(), rel=1e-5)
    for a, b in zip(ours, theirs, strict=True):
        assert torch.allclose(a, b, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.5, 1.0])
@pytest.mark.parametrize("tail", ["bucket", "renormalised"])
@pytest.mark.parametrize("stored", [False, True])
def test_sdpo_top_k(alpha, tail, stored):
    from trl.experimental.sdpo import loss_utils
    from trl.trainer.utils import selective_log_softmax

    hidden, weight, teacher_hidden, other, token, behaviour = problem()
    student, teacher = hidden @ weight.t(), teacher_hidden @ other.t()
    per_token = loss_utils.compute_topk_self_distillation_loss(
        student, teacher, distillation_topk=K, distillation_alpha=alpha,
        distillation_add_tail=tail == "bucket",
    )  # fmt: skip
    now = selective_log_softmax(student, token)
    per_token = loss_utils.apply_importance_sampling_clipping(per_token, now, behaviour, 2.0)
    targets = Targets(token, behaviour, torch.ones(N), hidden_NH=teacher_hidden)
    if stored:
        ids = student.detach().topk(K).indices
        logp = teacher.detach().log_softmax(-1).gather(1, ids)
        targets = replace(targets, hidden_NH=None, support_NK=ids, teacher_NK=logp)
    settings = replace(LOSS, alpha=alpha, tail=tail, top_k=K)
    both(per_token, hidden, weight, targets, settings, Head(other))


@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.5, 1.0])
def test_sdpo_and_gkd_over_the_whole_vocabulary(alpha):
    from trl.experimental.gkd.gkd_trainer import GKDTrainer
    from trl.experimental.sdpo import loss_utils

    hidden, weight, teacher_hidden, other, token, _ = problem()
    with torch.no_grad():
        now = (hidden @ weight.t()).log_softmax(-1).gather(1, token[:, None])[:, 0]
    targets = Targets(token, now, torch.ones(N), hidden_NH=teacher_hidden)  # every weight is 1
    settings = replace(LOSS, alpha=alpha, support="full")
    student, teacher = hidden @ weight.t(), teacher_hidden @ other.t()
    per_token = loss_utils.compute_full_logit_self_distillation_loss(
        student, teacher, distillation_alpha=alpha
    )
    both(per_token, hidden, weight, targets, settings, Head(other))
    gkd = GKDTrainer.generalized_jsd_loss(
        (hidden @ weight.t())[None], teacher[None], beta=alpha, reduction="sum"
    )
    both(gkd, hidden, weight, targets, settings, Head(other))


def test_sampled_token():
    """Theirs is (log S - log T) log S with the bracket constant: ours, without the weight."""
    from trl.experimental.sdpo import loss_utils

    hidden, weight, teacher_hidden, other, token, _ = problem()
    student, teacher = hidden @ weight.t(), teacher_hidden @ other.t()
    with torch.no_grad():
        now = student.log_softmax(-1).gather(1, token[:, None])[:, 0]
    targets = Targets(token, now, torch.ones(N), hidden_NH=teacher_hidden)
    per_token = loss_utils.compute_sampled_token_self_distillation_loss(
        student, teacher, token, distillation_alpha=1.0
    )
    both(per_token, hidden, weight, targets, replace(LOSS, loss="sampled_token"), Head(other))
