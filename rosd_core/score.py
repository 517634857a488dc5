"""Scoring: the self-teacher's distribution at every supervised position, on a support of K ids and
the tail.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
import torch
from transformers import PreTrainedTokenizerBase

from rosd_core.divergence import jsd, with_tail
from rosd_core.engine import Engine, Scored, TokenLogprobs, encode_chat
from rosd_core.prompts import Fitted, Messages, Prompts, fit
from rosd_core.reflection import without_thoughts
from rosd_core.shards import Rows
from rosd_core.tables import join_rows


def score_tasks(
    problems: pl.DataFrame,
    alignments: pl.DataFrame,
    rollouts: pl.DataFrame,
    reflections: pl.DataFrame,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Prompts,
    longest: int,
) -> Rows:
    """One task per supervised alignment: the student's and the teacher's prompt ids (of at most
    `longest` tokens) and the response's tokens.
    """

    def encode(messages: Messages) -> list[int]:
        return encode_chat(tokenizer, messages, prompts.thinking)

    by_id = {p["problem_id"]: p for p in problems.iter_rows(named=True)}
    supervised = alignments.filter(pl.col("status") == "supervised")
    reflected = {r["rollout_id"]: r for r in reflections.iter_rows(named=True)}
    response = dict(rollouts.select("rollout_id", "response").iter_rows())
    tasks = []
    for alignment, rollout in join_rows(supervised, rollouts):
        problem, positions = by_id[alignment["problem_id"]], alignment["positions"]
        reflection, asked = reflected[alignment["rollout_id"]], problem["prompt"]
        if alignment["context"] == "none":
            teacher = Fitted([], [], None)
        elif alignment["context"] == "idea":
            parts = {"problem": asked, "idea": reflection["idea"]}
            teacher = fit(
                prompts.with_idea,
                encode,
                longest,
                alignment["rollout_id"],
                problem["system"],
                **parts,
            )
        else:
            reference = alignment["context"] == "reference"
            shown = (
                problem["solution"]
                if reference
                else without_thoughts(response[reflection["peer_id"]])
            )
            parts = {"problem": asked, "solution": shown}
            teacher = fit(
                prompts.with_solution,
                encode,
                longest,
                alignment["rollout_id"],
                problem["system"],
                **parts,
            )
        tasks.append(
            {
                "rollout_id": alignment["rollout_id"],
                "problem_id": alignment["problem_id"],
                "prompt_ids": rollout["prompt_ids"],
                "teacher_prompt_ids": teacher.ids,
                "shortened": teacher.shortened,
                "response_ids": rollout["response_ids"],
                "positions": positions,
                "weight": alignment["weight"],
                "behaviour_logp": [rollout["behaviour_logp"][t] for t in positions],
            }
        )
    return tasks


def _divergence(student: TokenLogprobs, teacher: TokenLogprobs) -> np.ndarray:
    s, t = (
        with_tail(torch.from_numpy(x.support_logp), torch.from_numpy(x.tail_logp))
        for x in (student, teacher)
    )
    return jsd(s, t, 0.5).numpy()


def score_rows(
    tasks: Sequence[dict[str, Any]], student: Engine, teacher: Engine, support: str, top_k: int
) -> Rows:
    """Rows of the table `scores`.

    Whose top-k ids are the support is `support`; both models are then read on those same ids. A row
    that does not fit the model's context is kept with status `too_long` and no scored token; one
    without teacher keeps its tokens, with status `no_teacher`.
    """

    def fits_context(task: dict[str, Any]) -> bool:
        return len(task["teacher_prompt_ids"]) + len(task["response_ids"]) <= teacher.context

    fits = [t for t in tasks if t["teacher_prompt_ids"] and fits_context(t)]
    models = {"student": (student, "prompt_ids"), "teacher": (teacher, "teacher_prompt_ids")}
    (leader, leader_prompt), (follower, follower_prompt) = models.pop(support), *models.values()
    led = leader.logprobs(
        [Scored(t[leader_prompt], t["response_ids"], t["positions"]) for t in fits], top_k
    )
    asked = [
        Scored(t[follower_prompt], t["response_ids"], t["positions"], r.support_ids)
        for t, r in zip(fits, led, strict=True)
    ]
    followed = follower.logprobs(asked, top_k)
    pairs = (
        zip(led, followed, strict=True) if support == "student" else zip(followed, led, strict=True)
    )
    scored = dict(zip((t["rollout_id"] for t in fits), pairs, strict=True))
    return [_row(task, scored.get(task["rollout_id"]), support) for task in tasks]


def _row(
    task: dict[str, Any], scored: tuple[TokenLogprobs, TokenLogprobs] | None, support: str
) -> dict[str, Any]:
    if scored is None:
        columns = (
            "student_logp",
            "teacher_logp",
            "support_ids",
            "support_logp",
            "tail_logp",
            "divergence",
        )
        empty: dict[str, Any] = {name: [] for name in columns}
        if not task["teacher_prompt_ids"]:
            return task | empty | {"support": "none", "status": "no_teacher"}
        none = {"positions": [], "behaviour_logp": []}
        return task | empty | none | {"support": support, "status": "too_long"}
    student, teacher = scored
    return task | {
        "student_logp": student.token_logp.tolist(),
        "teacher_logp": teacher.token_logp.tolist(),
        "support_ids": teacher.support_ids.tolist(),
        "support_logp": teacher.support_logp.tolist(),
        "tail_logp": teacher.tail_logp.tolist(),
        "divergence": _divergence(student, teacher).tolist(),
        "support": support,
        "status": "scored",
    }
