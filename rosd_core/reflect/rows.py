"""Rows of the table `reflections`: the reflector's prompt, its answer, and what is read from it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rosd_core.prompts.fit import FittedPrompt, PromptBuilder
from rosd_core.prompts.thinking import without_thinking
from rosd_core.reflect.contract import Contract
from rosd_core.reflect.parse import Reflection
from rosd_core.reflect.reflector import Question, Reflector
from rosd_core.sampling.engine import Decoding
from rosd_core.seeds import row_seed
from rosd_core.tables.lookup import RowReader
from rosd_core.tables.row_types import ReflectionRow

Peer = Mapping[str, Any]  # a row that `choose_peers` returned


@dataclass(frozen=True)
class ReflectionTask:
    """A rollout with its peer, its response, and what the reflector reads (the last two: empty and
    None where it is skipped).
    """

    rollout_id: str
    problem_id: str
    kind: str
    peer_id: str | None
    skip_reason: str | None
    response: str
    prompt: FittedPrompt | None


@dataclass(frozen=True)
class TaskReader:
    """Makes tasks of the rows that `choose_peers` returned, when their shard is worked on: only
    then are responses read and prompts built. `problems` are by their ids.
    """

    problems: Mapping[str, Mapping[str, Any]]
    rollouts: RowReader
    builder: PromptBuilder

    def read(self, peers: Sequence[Peer]) -> list[ReflectionTask]:
        """One task per row, in their order."""
        asked = [row for row in peers if row["skip_reason"] is None]
        ids = [row[name] for row in asked for name in ("rollout_id", "peer_id")]
        found = self.rollouts.read(ids, ["rollout_id", "response"])
        response = {row["rollout_id"]: row["response"] for row in found}
        return reflection_tasks(self.problems, response, peers, self.builder)


def reflection_tasks(
    problems: Mapping[str, Mapping[str, Any]],
    response: Mapping[str, str],
    peers: Sequence[Peer],
    builder: PromptBuilder,
) -> list[ReflectionTask]:
    """One task per row of `peers`, in their order. `response` holds the responses of those that are
    not skipped and of their peers.
    """
    tasks = []
    for row in peers:
        own, prompt = response.get(row["rollout_id"], ""), None
        if row["skip_reason"] is None:
            prompt = _prompt(row, problems[row["problem_id"]], response, builder)
        tasks.append(ReflectionTask(**row, response=own, prompt=prompt))
    return tasks


def _prompt(
    row: Peer, problem: Mapping[str, Any], response: Mapping[str, str], builder: PromptBuilder
) -> FittedPrompt:
    """The reflector's prompt: a wrong response beside its peer (without one, beside the data's
    solution: see `no_success`), or a correct one alone.
    """
    prompts, own = builder.prompts, response[row["rollout_id"]]
    parts = {"problem": problem["prompt"], "gold": problem["answer"]}
    if row["kind"] == "correct":
        template, parts = prompts.reflect_correct, parts | {"correct": own}
    else:
        peer = response.get(row["peer_id"])
        solution = problem["solution"] if peer is None else without_thinking(peer)
        parts |= {"correct": solution, "wrong": own}
        template = prompts.reflect_wrong
    return builder.build(template, row["rollout_id"], problem["system"], **parts)


def unanswered_rows(tasks: Sequence[ReflectionTask]) -> list[ReflectionRow]:
    """The rows of the tasks before anybody is asked."""
    return [
        new_row(t.rollout_id, t.problem_id, t.kind, t.peer_id, t.skip_reason, t.prompt)
        for t in tasks
    ]


def reflect_rows(
    tasks: Sequence[ReflectionTask],
    reflector: Reflector,
    attempts: Sequence[Decoding],
    seeds: tuple[int, str],
    contract: Contract,
) -> list[ReflectionRow]:
    """The reflector's answers, with quotes and idea read from them. `seeds` are the stage's seed
    and the iteration.

    `attempts` says how each attempt is decoded: an answer without idea or quote is asked for again,
    with another seed, as long as there is a next attempt.
    """
    rows = {row["rollout_id"]: row for row in unanswered_rows(tasks)}
    asked = [task for task in tasks if task.prompt is not None]
    for number, decoding in enumerate(attempts, 1):
        questions = [_question(task, (*seeds, number), contract) for task in asked]
        for task, answer in zip(asked, reflector.answer(questions, decoding), strict=True):
            raw = contract.prefill[task.kind] + answer.text
            read = contract.read(raw, task.kind, task.response, answer.finish_reason)
            row = rows[task.rollout_id]
            row |= _answer(raw, read, number, row["answer_tokens"] + answer.tokens)
            row["model"] = reflector.model
        asked = [task for task in asked if rows[task.rollout_id]["status"] != "ok"]
        if not asked:
            break
    return list(rows.values())


def _question(task: ReflectionTask, seeds: tuple[int, str, int], contract: Contract) -> Question:
    """What the reflector is asked; the first attempt has the row's seed, later ones seeds of their
    own.
    """
    assert task.prompt is not None
    seed, iteration, attempt = seeds
    again = ["attempt", str(attempt)] if attempt > 1 else []
    return Question(
        task.rollout_id,
        task.prompt,
        contract.prefill[task.kind],
        row_seed(seed, iteration, task.rollout_id, *again),
        contract.grammar(task.kind, task.response),
    )


def new_row(
    rollout_id: str,
    problem_id: str,
    kind: str,
    peer_id: str | None,
    skip_reason: str | None,
    prompt: FittedPrompt | None = None,
) -> ReflectionRow:
    """A row without an answer."""
    return {
        "rollout_id": rollout_id,
        "problem_id": problem_id,
        "kind": kind,
        "peer_id": peer_id,
        "messages": prompt.messages if prompt else None,
        "shortened": prompt.shortened if prompt else None,
        "raw": None,
        "idea": None,
        "quotes": None,
        "status": "skipped",
        "repairs": None,
        "attempts": 0,
        "answer_tokens": 0,
        "skip_reason": skip_reason,
        "model": None,
    }


def _answer(raw: str, read: Reflection, attempts: int, tokens: int) -> ReflectionRow:
    """The columns of a row that come from the answer."""
    return {  # pyright: ignore[reportReturnType] (a part of the row)
        "raw": raw,
        "idea": read.idea,
        "quotes": read.quotes,
        "status": read.status,
        "repairs": read.repairs,
        "attempts": attempts,
        "answer_tokens": tokens,
    }
