"""Scoring: the self-teacher's distribution at every supervised position, on a support of K ids and
the tail, or as its final hidden states.

Dimension names: N supervised token, K support, H hidden.
"""

from collections.abc import Sequence
from typing import Any

import polars as pl
import torch
from transformers import PreTrainedTokenizerBase

from rosd_core.forward.hidden_states import Reader
from rosd_core.forward.packing import batches, pack_row
from rosd_core.losses.divergence import tail_logp
from rosd_core.losses.head import compare
from rosd_core.prompts.chat import encode_chat
from rosd_core.prompts.fit import Fitted, fit
from rosd_core.prompts.templates import Messages, Prompts
from rosd_core.prompts.thinking import without_thinking
from rosd_core.tables.bfloat16 import to_bfloat16
from rosd_core.tables.io import join_rows
from rosd_core.tables.shards import Rows

NUMBERS = (
    "student_logp", "teacher_logp", "support_ids", "support_logp", "tail_logp", "divergence",
)  # fmt: skip


def score_tasks(
    problems: pl.DataFrame,
    alignments: pl.DataFrame,
    rollouts: pl.DataFrame,
    reflections: pl.DataFrame,
    peers: pl.DataFrame,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Prompts,
    longest: int,
) -> Rows:
    """One task per supervised alignment: the student's and the teacher's prompt ids (of at most
    `longest` tokens) and the response's tokens. `peers` are rollouts that hold the responses shown.
    """

    def encode(messages: Messages) -> list[int]:
        return encode_chat(tokenizer, messages, prompts.thinking)

    by_id = {p["problem_id"]: p for p in problems.iter_rows(named=True)}
    supervised = alignments.filter(pl.col("status") == "supervised")
    reflected = {r["rollout_id"]: r for r in reflections.iter_rows(named=True)}
    response = dict(peers.select("rollout_id", "response").iter_rows())
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
                else without_thinking(response[reflection["peer_id"]])
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


def unscored(task: dict[str, Any], status: str, support: str) -> dict[str, Any]:
    """A row without targets; it keeps its supervised tokens but where it is too long."""
    empty: dict[str, Any] = dict.fromkeys(NUMBERS, ()) | {"teacher_hidden": None}
    gone = {"positions": [], "behaviour_logp": []} if status == "too_long" else {}
    return task | empty | gone | {"support": support, "status": status}


def status_of(task: dict[str, Any], context: int, targets: str) -> str:
    """What becomes of a task: see the table's column status."""
    if not task["teacher_prompt_ids"]:
        return "no_teacher"
    if len(task["teacher_prompt_ids"]) + len(task["response_ids"]) > context:
        return "too_long"
    return "deferred" if targets == "none" else "scored"


def unread_rows(tasks: Sequence[dict[str, Any]], context: int) -> Rows:
    """Rows for a teacher that distill runs itself: no model is read here."""
    return [unscored(task, status_of(task, context, "none"), "none") for task in tasks]


def score_rows(
    tasks: Sequence[dict[str, Any]],
    student: Reader,
    teacher: Reader,
    targets: str,
    support: str,
    top_k: int,
) -> Rows:
    """Rows of the table `scores`, in the order of the tasks.

    `topk` stores the teacher's log-probabilities on the support; `hidden` its final hidden states,
    from which any divergence over the whole vocabulary can be had later. A row that does not fit
    the model's context is kept with status `too_long` and no scored token; one without teacher
    keeps its tokens, with status `no_teacher`.
    """
    status = [status_of(task, teacher.context, targets) for task in tasks]
    rows: dict[int, dict[str, Any]] = {}
    for n, task in enumerate(tasks):
        if status[n] != "scored":
            rows[n] = unscored(task, status[n], "none")
    fits = [n for n in range(len(tasks)) if n not in rows]
    own = [pack_row(tasks[n], "prompt_ids") for n in fits]
    heads = student.head(), teacher.head()
    chosen_by = "student" if support == "full" else support  # what the diagnostic columns look at
    for batch in batches(own, student.batch_tokens):
        part = [fits[b] for b in batch]
        student_NH = student.hidden([own[b] for b in batch])
        taught = teacher.hidden_of_rows([pack_row(tasks[n], "teacher_prompt_ids") for n in part])
        teacher_NH = torch.cat(taught)
        token_N = torch.tensor(
            [tasks[n]["response_ids"][t] for n in part for t in tasks[n]["positions"]],
            device=student_NH.device,
        )
        found = compare(student_NH, heads[0], teacher_NH, heads[1], token_N, chosen_by, top_k)
        columns = {
            "student_logp": found.student_N,
            "teacher_logp": found.teacher_N,
            "support_ids": found.support_NK.int(),
            "support_logp": found.teacher_NK,
            "tail_logp": tail_logp(found.teacher_NK),
            "divergence": found.divergence_N,
        }
        sizes = [len(tasks[n]["positions"]) for n in part]
        split = {name: c.cpu().split(sizes) for name, c in columns.items()}
        for at, n in enumerate(part):
            row = {name: parts[at].numpy() for name, parts in split.items()}
            more: dict[str, Any] = {"teacher_hidden": None, "support": support, "status": "scored"}
            if targets == "hidden":
                more["teacher_hidden"] = to_bfloat16(taught[at])
                row |= dict.fromkeys(("support_ids", "support_logp", "tail_logp"), ())
            rows[n] = tasks[n] | row | more
    return [rows[n] for n in range(len(tasks))]
