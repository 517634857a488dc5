"""What the teacher reads: its prompt, and the very same response tokens as the student."""

from collections.abc import Mapping
from typing import Any

import polars as pl

from rosd_core.errors import RosdError
from rosd_core.prompts.fit import FittedPrompt, PromptBuilder
from rosd_core.prompts.thinking import without_thinking
from rosd_core.tables.io import join_rows
from rosd_core.tables.row_types import ScoreInput


def score_inputs(
    problems: pl.DataFrame,
    alignments: pl.DataFrame,
    rollouts: pl.DataFrame,
    reflections: pl.DataFrame,
    peers: pl.DataFrame,
    builder: PromptBuilder,
) -> list[ScoreInput]:
    """One input per supervised alignment. `peers` are the rollouts that serve as demonstrations."""
    by_id = {problem["problem_id"]: problem for problem in problems.iter_rows(named=True)}
    reflected = {row["rollout_id"]: row for row in reflections.iter_rows(named=True)}
    response = dict(peers.select("rollout_id", "response").iter_rows())
    inputs: list[ScoreInput] = []
    for alignment, rollout in join_rows(alignments.filter(status="supervised"), rollouts):
        reflection = reflected[alignment["rollout_id"]]
        peer = response.get(reflection["peer_id"])
        problem, positions = by_id[alignment["problem_id"]], alignment["positions"]
        prompt = teacher_prompt(alignment, problem, reflection["idea"], peer, builder)
        inputs.append(
            {
                "rollout_id": alignment["rollout_id"],
                "problem_id": alignment["problem_id"],
                "prompt_ids": rollout["prompt_ids"],
                "teacher_prompt_ids": prompt.ids,
                "shortened": prompt.shortened,
                "response_ids": rollout["response_ids"],
                "positions": positions,
                "weight": alignment["weight"],
                "behaviour_logp": [rollout["behaviour_logp"][t] for t in positions],
            }
        )
    return inputs


def teacher_prompt(
    alignment: Mapping[str, Any],
    problem: Mapping[str, Any],
    idea: str | None,
    peer: str | None,
    builder: PromptBuilder,
) -> FittedPrompt:
    """The problem with the teacher context that align chose: the corrective idea, a peer's response
    or the reference solution; empty where the loss has no teacher.
    """
    context, prompts = alignment["teacher_context"], builder.prompts
    if context == "none":
        return FittedPrompt([], [], None)
    parts = {"problem": problem["prompt"]}
    if context == "idea":
        template, text, name = prompts.with_idea, idea, "idea"
    else:
        text = problem["solution"] if context == "reference" else peer
        template, name = prompts.with_solution, "solution"
    if text is None:
        raise RosdError(
            f"rollout {alignment['rollout_id']}: its teacher context is {context}, but there is no "
            f"{name} for it; the tables are of different runs."
        )
    parts[name] = without_thinking(text) if context == "peer" else text
    return builder.build(template, alignment["rollout_id"], problem["system"], **parts)
