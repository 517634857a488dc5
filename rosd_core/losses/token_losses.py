"""The loss of a supervised token: one function per name, in the table `LOSSES`.

| distill.loss | loss of token t | reads a teacher |
| --- | --- | --- |
| divergence | r w_t JSD_alpha(S_t, T_t) | yes |
| skew_kl | r w_t KL(T_t, alpha T_t + (1 - alpha) S_t) | yes |
| sampled_token | -r w_t (log T_t(y_t) - log S_t(y_t)) log S_t(y_t), bracket constant | yes |
| cross_entropy | -r log S_t(y_t) | no |
| policy_gradient | -min(rho_t r, clip(rho_t, 1 - c, 1 + c) r) | no |
| policy_gradient_kl | the same, plus kl_weight k3_t(S, T) | yes |
| fixed_advantage | policy_gradient with -r for r where S'_t(y_t) < unlikely, else 0 | no |

S_t and T_t are the student's and the teacher's next-token distributions, y_t is the sampled token,
r the weight of its row, rho_t the importance ratio and w_t = min(rho_t, importance_clip). All
losses are in nats. Where tokens have weights of their own (distill.token_weight), r includes them.

    rho_t = S_t(y_t) / b_t(y_t)    b: what was sampled from, after temperature and top_p
    rho_t = S_t(y_t) / S'_t(y_t)   the last three; S': the weights that sampled, at temperature 1

The first also corrects for a temperature or a top_p below 1, so it differs from 1 even for weights
that have not moved. The last three clip around 1, which must mean weights that have not moved.

To add a loss: write its function, add its entry to `LOSSES` and its name to `Distill.loss` in
rosd_core/config/training.py, mention it in params.yaml, and test it.

Dimension names: n supervised token, C bucket (the support and its tail, or the whole vocabulary).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from rosd_core.losses.divergence import clipped_sum, jsd, jsd_gradient, kl_entries


@dataclass(frozen=True)
class LossSettings:
    """What the losses read of `params.yaml: distill` and `score`; the names are the same there."""

    loss: str
    alpha: float
    tail: str
    importance_clip: float
    entry_clip: float | None
    policy_clip: float
    kl_weight: float
    unlikely: float
    support: str
    top_k: int


@dataclass(frozen=True)
class TokenInputs:
    """What a loss sees of n tokens. Probabilities are natural logarithms; gradients flow through
    the student's alone.

    student_n     of the sampled token
    behaviour_n   of the sampled token, under what it was sampled from, or under S' (see `LOSSES`)
    weight_n      r, the weight of its row times that of the token
    teacher_n     of the sampled token; None without teacher
    student_nC    of the buckets; None where the loss reads the sampled token alone
    teacher_nC    of the same buckets
    own_weight_n  the token's own weight, without that of its row; None: 1
    """

    student_n: torch.Tensor
    behaviour_n: torch.Tensor
    weight_n: torch.Tensor
    teacher_n: torch.Tensor | None = None
    student_nC: torch.Tensor | None = None
    teacher_nC: torch.Tensor | None = None
    own_weight_n: torch.Tensor | None = None

    @property
    def ratio_n(self) -> torch.Tensor:
        """rho, with gradient."""
        return (self.student_n - self.behaviour_n).exp()


# tokens, settings -> (the ratio that the loss applies, which tokens it clips)
Importance = Callable[[TokenInputs, LossSettings], tuple[torch.Tensor, torch.Tensor]]


def clipped_importance(
    tokens: TokenInputs, settings: LossSettings
) -> tuple[torch.Tensor, torch.Tensor]:
    """w = min(rho, importance_clip): corrects for how the token was sampled, and for the drift of
    the student since then.
    """
    ratio_n, clip = tokens.ratio_n, settings.importance_clip
    return ratio_n.clamp(max=clip), ratio_n > clip


def trust_region_importance(
    tokens: TokenInputs, settings: LossSettings
) -> tuple[torch.Tensor, torch.Tensor]:
    """rho; clipped where a step that the row's weight asks for has gone beyond 1 ± policy_clip."""
    ratio_n, weight_n = tokens.ratio_n, tokens.weight_n
    up_n = (weight_n > 0) & (ratio_n > 1 + settings.policy_clip)
    return ratio_n, up_n | ((weight_n < 0) & (ratio_n < 1 - settings.policy_clip))


def no_importance(tokens: TokenInputs, settings: LossSettings) -> tuple[torch.Tensor, torch.Tensor]:
    """1: the loss does not depend on how its tokens were sampled."""
    ratio_n = tokens.ratio_n
    return torch.ones_like(ratio_n), torch.zeros_like(ratio_n, dtype=torch.bool)


def row_importance(tokens: TokenInputs, settings: LossSettings) -> torch.Tensor:
    """r w, without gradient; w is the importance of the loss's entry in `LOSSES`."""
    applied_n, _ = LOSSES[settings.loss].importance(tokens, settings)
    return tokens.weight_n * applied_n.detach()


def divergence(tokens: TokenInputs, settings: LossSettings) -> torch.Tensor:
    """r w JSD_alpha(S, T) over the buckets, (n,). Source: arXiv 2605.28014 (ROSD)."""
    assert tokens.student_nC is not None and tokens.teacher_nC is not None
    jsd_n = jsd(tokens.student_nC, tokens.teacher_nC, settings.alpha, settings.entry_clip)
    return row_importance(tokens, settings) * jsd_n


def divergence_gradient(
    student_nV: torch.Tensor, teacher_nV: torch.Tensor, settings: LossSettings
) -> tuple[torch.Tensor, torch.Tensor]:
    """JSD_alpha over the whole vocabulary (n,) and its gradient by the logits (n, V), in place."""
    return jsd_gradient(student_nV, teacher_nV, settings.alpha, settings.entry_clip)


def skew_kl(tokens: TokenInputs, settings: LossSettings) -> torch.Tensor:
    """r w KL(T || alpha T + (1 - alpha) S) over the buckets, (n,): a forward KL that is bounded by
    -log alpha, so that ids which the student deems impossible do not dominate. alpha 0 is the
    forward KL itself; params refuse alpha 1, where the loss is 0. Entries are clipped as in `jsd`.
    Source: arXiv 2402.03898 (DistiLLM).
    """
    assert tokens.student_nC is not None and tokens.teacher_nC is not None
    mix_nC, alpha = tokens.student_nC, settings.alpha
    if alpha > 0:
        own_nC = tokens.student_nC + (math.log1p(-alpha) if alpha < 1 else -math.inf)
        mix_nC = torch.logaddexp(own_nC, tokens.teacher_nC + math.log(alpha))
    entries_nC = kl_entries(tokens.teacher_nC, mix_nC)
    return row_importance(tokens, settings) * clipped_sum(entries_nC, settings.entry_clip)


def sampled_token(tokens: TokenInputs, settings: LossSettings) -> torch.Tensor:
    """-r w (log T(y) - log S(y)) log S(y), (n,), with the bracket constant: the policy gradient of
    the reverse KL, one sample per token. Source: arXiv 2601.20802 (SDPO).
    """
    assert tokens.teacher_n is not None
    advantage_n = tokens.teacher_n - tokens.student_n.detach()
    return -row_importance(tokens, settings) * advantage_n * tokens.student_n


def cross_entropy(tokens: TokenInputs, settings: LossSettings) -> torch.Tensor:
    """-r log S(y), (n,)."""
    return -tokens.weight_n * tokens.student_n


def policy_gradient(tokens: TokenInputs, settings: LossSettings) -> torch.Tensor:
    """-min(rho r, clip(rho, 1 - c, 1 + c) r), (n,), with c = policy_clip and r the advantage.

    Source: arXiv 2402.03300 (GRPO), equation 3 without its KL term, averaged over tokens.
    """
    ratio_n, clip = tokens.ratio_n, settings.policy_clip
    near_n = ratio_n.clamp(1 - clip, 1 + clip)
    return -torch.minimum(ratio_n * tokens.weight_n, near_n * tokens.weight_n)


def policy_gradient_kl(tokens: TokenInputs, settings: LossSettings) -> torch.Tensor:
    """policy_gradient + kl_weight k3, (n,), with k3 = T(y) / S(y) - log(T(y) / S(y)) - 1 >= 0: the
    estimate of KL(S || T) from a token drawn from S. The advantage does not scale k3, the token's
    own weight does. T is an anchor: the base model on the same prompt (teacher context `plain`).

    Source: arXiv 2402.03300 (GRPO), equations 3 and 4, averaged over tokens; groups without
    contrast are skipped by align, so that k3 does not act on them.
    """
    assert tokens.teacher_n is not None
    gap_n = tokens.teacher_n - tokens.student_n
    anchor_n = settings.kl_weight * (torch.expm1(gap_n) - gap_n)
    if tokens.own_weight_n is not None:
        anchor_n = tokens.own_weight_n * anchor_n
    return policy_gradient(tokens, settings) + anchor_n


def against_unlikely(tokens: TokenInputs, settings: LossSettings) -> TokenInputs:
    """The tokens with the weight -r where S'(y) < unlikely, else 0."""
    unlikely_n = tokens.behaviour_n < math.log(settings.unlikely)
    return replace(tokens, weight_n=-tokens.weight_n * unlikely_n)


def fixed_advantage(tokens: TokenInputs, settings: LossSettings) -> torch.Tensor:
    """policy_gradient, (n,), with the advantage -1 for sampled tokens that were less likely than
    `unlikely`, else 0; rewards do not enter, r is 1 with align.weight one.

    The null baseline of arXiv 2608.31046, which finds that one fixed negative advantage does as
    well as a teacher's, because the gain is at unlikely tokens. Its method OPSA also adapts the
    advantage to the student's entropy, which this loss does not; the threshold is ours. Which
    tokens are unlikely is decided once, under the weights that sampled, S'.
    """
    return policy_gradient(against_unlikely(tokens, settings), settings)


def unlikely_importance(
    tokens: TokenInputs, settings: LossSettings
) -> tuple[torch.Tensor, torch.Tensor]:
    """That of policy_gradient: a token with advantage 0 is not clipped."""
    return trust_region_importance(against_unlikely(tokens, settings), settings)


@dataclass(frozen=True)
class TokenLoss:
    """An entry of `LOSSES`.

    function          TokenInputs, LossSettings -> loss per token (n,)
    needs_teacher     whether it reads teacher_n, student_nC and teacher_nC
    on_support        False: of these teacher_n alone, so that no support is chosen
    importance        the ratio that it applies, and which tokens it clips
    behaviour         column of the table scores that rho is divided by
    may_rest          whether a step in which no token has a gradient is as it should be
    whole_vocabulary  value and gradient without r w for support `full`; without it, autograd
    """

    function: Callable[[TokenInputs, LossSettings], torch.Tensor]
    needs_teacher: bool
    on_support: bool = True
    importance: Importance = clipped_importance
    behaviour: str = "behaviour_logp"
    may_rest: bool = False
    whole_vocabulary: (
        Callable[[torch.Tensor, torch.Tensor, LossSettings], tuple[torch.Tensor, torch.Tensor]]
        | None
    ) = None

    @property
    def reads_support(self) -> bool:
        return self.needs_teacher and self.on_support


LOSSES: dict[str, TokenLoss] = {
    "divergence": TokenLoss(divergence, needs_teacher=True, whole_vocabulary=divergence_gradient),
    "skew_kl": TokenLoss(skew_kl, needs_teacher=True),
    "sampled_token": TokenLoss(sampled_token, needs_teacher=True, on_support=False),
    "cross_entropy": TokenLoss(cross_entropy, needs_teacher=False, importance=no_importance),
    "policy_gradient": TokenLoss(
        policy_gradient,
        needs_teacher=False,
        importance=trust_region_importance,
        behaviour="student_logp",
    ),
    "policy_gradient_kl": TokenLoss(
        policy_gradient_kl,
        needs_teacher=True,
        on_support=False,
        importance=trust_region_importance,
        behaviour="student_logp",
    ),
    "fixed_advantage": TokenLoss(
        fixed_advantage,
        needs_teacher=False,
        importance=unlikely_importance,
        behaviour="student_logp",
        may_rest=True,
    ),
}
