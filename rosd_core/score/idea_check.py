"""Whether an idea helps before it teaches (`score.idea_check`).

A corrective idea is a hypothesis, and the verifier has already said which responses are right. An
idea is rejected where the teacher T that reads it does not find a correct response y of the same
group, the peer that the reflector saw, likelier than without it:

    idea gain = mean over the tokens of y of log T(y_t | problem, idea, y_<t) - log T(y_t | problem,
    y_<t)                                                           (nats per token)

Both terms are of the same weights and the same chat template. The log-probabilities stored in
`rollouts` are the student's, so beside a teacher `base` they would mix the idea's effect with what
the student has learnt since. After arXiv 2605.28791 (SGSD), whose verifier judges the teacher's
stance on the response that is trained on; here it is a correct one.

Dimension names: N token.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from rosd_core.forward.hidden_states import ModelMix
from rosd_core.forward.packing import PackRow, batches, sampled_tokens
from rosd_core.losses.head import chunks
from rosd_core.sampling.draw import token_logp
from rosd_core.score.inputs import InputReader
from rosd_core.tables.row_types import ScoreRow

PEER = ["rollout_id", "problem_id", "response_ids"]


@dataclass(frozen=True)
class Trial:
    """A correct response and the teacher's prompts with and without the idea, as token ids."""

    with_idea: Sequence[int]
    plain: Sequence[int]
    response_ids: Sequence[int]


def read_trials(reader: InputReader, rows: Sequence[ScoreRow]) -> dict[str, Trial]:
    """The trial of every scored wrong row that an idea teaches and that has a peer, by rollout."""
    prompts = {
        row["rollout_id"]: row["teacher_prompt_ids"]
        for row in rows
        if row["status"] == "scored" and row["kind"] == "wrong"
    }
    alignments = reader.tables["alignments"].read(prompts, ["rollout_id", "teacher_context"])
    by_idea = [row["rollout_id"] for row in alignments if row["teacher_context"] == "idea"]
    reflections = reader.tables["reflections"].read(by_idea, ["rollout_id", "peer_id"])
    peers = {row["rollout_id"]: row["peer_id"] for row in reflections if row["peer_id"]}
    found = reader.tables["rollouts"].read(peers.values(), PEER)
    rollouts = {row["rollout_id"]: row for row in found}
    trials = {}
    for rollout_id, peer_id in peers.items():
        peer = rollouts[peer_id]
        problem = reader.problem[peer["problem_id"]]
        plain = reader.plain_prompt(rollout_id, problem)
        trials[rollout_id] = Trial(prompts[rollout_id], plain.ids, peer["response_ids"])
    return trials


@torch.no_grad()
def mean_logp(rows: Sequence[PackRow], model: ModelMix, batch_tokens: int) -> list[float]:
    """The model's mean log-probability of the supervised tokens of each row, in nats per token."""
    head, means = model.head(), [0.0] * len(rows)
    for batch in batches(rows, batch_tokens):
        chosen = [rows[n] for n in batch]
        hidden_NH = model.hidden(chosen)
        token_N = sampled_tokens(chosen).to(hidden_NH.device)
        parts = [
            token_logp(head.logits(hidden_NH[at]), token_N[at])
            for at in chunks(hidden_NH, len(head.matrix_VH))
        ]
        pieces = torch.cat(parts).double().cpu().split([len(row[2]) for row in chosen])
        for n, logp_N in zip(batch, pieces, strict=True):
            means[n] = float(logp_N.mean())
    return means


def idea_gains(trials: dict[str, Trial], teacher: ModelMix, batch_tokens: int) -> dict[str, float]:
    """The idea gain of each trial whose prompts fit the teacher's context together with the
    response; the pass without idea runs once for each correct response.
    """
    packs: dict[tuple[tuple[int, ...], tuple[int, ...]], PackRow] = {}
    pairs = {}
    for rollout_id, trial in trials.items():
        longest = max(len(trial.with_idea), len(trial.plain)) + len(trial.response_ids)
        if longest > teacher.context_length:
            continue
        response = tuple(trial.response_ids)
        pairs[rollout_id] = [(tuple(p), response) for p in (trial.with_idea, trial.plain)]
        packs |= {key: (*key, range(len(response))) for key in pairs[rollout_id]}
    means = mean_logp(list(packs.values()), teacher, batch_tokens)
    logp = dict(zip(packs, means, strict=True))
    return {name: logp[idea] - logp[plain] for name, (idea, plain) in pairs.items()}


def reject_ideas(rows: Sequence[ScoreRow], gains: dict[str, float]) -> None:
    """Store the gains in `idea_gain`; a row whose gain is not above 0 gets the status
    `idea_rejected`. It keeps its numbers, and distill leaves it out. Without a gain it teaches.
    """
    for row in rows:
        gain = row["idea_gain"] = gains.get(row["rollout_id"])
        if gain is not None and gain <= 0:
            row["status"] = "idea_rejected"
