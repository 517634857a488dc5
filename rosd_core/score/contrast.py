"""A contrastive teacher (`score.contrast`): what any demonstration does to it is taken away.

A teacher that reads a correct response is also moved by the mere fact that a response is there: its
length, its style, its words. The same teacher beside a *wrong* response of the group shows that
part alone, so it is subtracted, as RLCSD does with a wrong hint (arXiv 2606.11709):

    z = z_right - c (z_wrong - z_plain)        logits, then log-softmax; c = score.contrast

z_right: beside the correct response or the reference, z_wrong: beside a wrong one, z_plain: beside
none; all three of the same weights on the same response tokens. The paper contrasts the sampled
token's log-probabilities over several wrong hints; here it is one hint, and the whole distribution.
On joined hidden states that is one head (`mixed_head`), so that scoring need not know of it.

Dimension names: N supervised token, H hidden (joined).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl
import torch

from rosd_core.forward.hidden_states import ModelMix
from rosd_core.forward.packing import PackRow
from rosd_core.losses.head import Head, mixed_head
from rosd_core.prompts.thinking import without_thinking
from rosd_core.score.inputs import InputReader
from rosd_core.seeds import row_seed
from rosd_core.tables.io import read_table
from rosd_core.tables.row_types import ScoreInput

Ids = tuple[int, ...]


@dataclass(frozen=True)
class Contrasted(ModelMix):
    """The teacher, with (its prompt, response) -> (prompt beside a wrong response, plain prompt).
    Rows that `prompts` does not hold are not contrasted.
    """

    contrast: float
    prompts: Mapping[tuple[Ids, Ids], tuple[Ids, Ids]]

    def head(self) -> Head:
        """The head of the three joined hidden states."""
        return mixed_head([super().head()] * 3, [1.0, -self.contrast, self.contrast])

    def hidden(self, rows: Sequence[PackRow]) -> torch.Tensor:
        """Right, wrong and plain, joined, (N, 3 H). Where there is nothing to contrast with, the
        last two are the first, and cancel.
        """
        wrong, plain = [], []
        for prompt, response, positions in rows:
            key = tuple(prompt), tuple(response)
            beside, without = self.prompts.get(key, (prompt, prompt))
            wrong.append((beside, response, positions))
            plain.append((without, response, positions))
        return torch.cat([ModelMix.hidden(self, side) for side in (rows, wrong, plain)], 1)


def contrasted(
    teacher: ModelMix, reader: InputReader, inputs: Sequence[ScoreInput], contrast: float, seed: int
) -> ModelMix:
    """The teacher of these rows; with contrast 0 it is the teacher itself."""
    if contrast == 0:
        return teacher
    prompts = wrong_prompts(reader, inputs, seed, teacher.context_length)
    return Contrasted(teacher.parts, teacher.pad_id, contrast, prompts)


def wrong_prompts(
    reader: InputReader, inputs: Sequence[ScoreInput], seed: int, context_length: int
) -> dict[tuple[Ids, Ids], tuple[Ids, Ids]]:
    """(teacher prompt, response) -> (the same prompt with a wrong response, the plain prompt). The
    wrong response is another one of the group, drawn by the seed. Rows without one, or that would
    not fit the context with it, are left out.
    """
    known = read_table(
        "rollouts", reader.files["rollouts"], ["rollout_id", "problem_id", "success"]
    )
    wrong = known.filter(~pl.col("success")).group_by("problem_id").agg("rollout_id")
    of_problem = dict(wrong.iter_rows())
    chosen = {}
    for row in inputs:
        others = sorted(set(of_problem.get(row["problem_id"], ())) - {row["rollout_id"]})
        if others:
            pick = row_seed(seed, "contrast", row["rollout_id"]) % len(others)
            chosen[row["rollout_id"]] = others[pick]
    rows = reader.tables["rollouts"].read(chosen.values(), ["rollout_id", "response"])
    response = {row["rollout_id"]: row["response"] for row in rows}
    build, templates, found = reader.builder.build, reader.builder.prompts, {}
    for row in inputs:
        if row["rollout_id"] not in chosen:
            continue
        problem, name = reader.problem[row["problem_id"]], row["rollout_id"]
        parts = {"problem": problem["prompt"], "solution": without_thinking(response[chosen[name]])}
        beside = build(templates.with_solution, name, problem["system"], **parts)
        plain = reader.plain_prompt(name, problem)
        if max(len(beside.ids), len(plain.ids)) + len(row["response_ids"]) <= context_length:
            key = (tuple(row["teacher_prompt_ids"]), tuple(row["response_ids"]))
            found[key] = (tuple(beside.ids), tuple(plain.ids))
    return found
