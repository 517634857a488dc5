"""Rows of the table `reflections`: the reflector's prompt, its answer, and what is read from it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from rosd_core.errors import RosdError
from rosd_core.prompts.chat import decode
from rosd_core.prompts.fit import FittedPrompt, PromptBuilder
from rosd_core.prompts.thinking import without_thinking
from rosd_core.reflect.parse import Reflection, parse_constrained, parse_reflection
from rosd_core.sampling.engine import Completion, Decoding, Engine, Request
from rosd_core.seeds import row_seed
from rosd_core.tables.row_types import ReflectionRow

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# the response that may be quoted -> the grammar of a reflection on it, None: no restriction
GrammarOf = Callable[[str], str | None]


@dataclass(frozen=True)
class ReflectionTask:
    """A rollout with its peer, and what the reflector reads (None where it is skipped)."""

    rollout_id: str
    problem_id: str
    kind: str
    peer_id: str | None
    skip_reason: str | None
    response: str
    prompt: FittedPrompt | None


def reflection_tasks(
    problems: pl.DataFrame, rollouts: pl.DataFrame, peers: pl.DataFrame, builder: PromptBuilder
) -> list[ReflectionTask]:
    """One task per rollout, in the order of the rollouts; `peers` is what `choose_peers` returned.

    Raises RosdError for a rollout of a problem that the problems table does not hold.
    """
    by_id = {problem["problem_id"]: problem for problem in problems.iter_rows(named=True)}
    response = dict(rollouts.select("rollout_id", "response").iter_rows())
    tasks = []
    for row in peers.iter_rows(named=True):
        rollout_id, problem = row["rollout_id"], by_id.get(row["problem_id"])
        if problem is None:
            raise RosdError(
                f"rollout {rollout_id}: problem {row['problem_id']} is not in the problems table."
            )
        prompt = None
        if row["skip_reason"] is None:
            prompt = _prompt(row, problem, response, builder)
        tasks.append(ReflectionTask(**row, response=response[rollout_id], prompt=prompt))
    return tasks


def _prompt(
    row: dict, problem: dict, response: Mapping[str, str], builder: PromptBuilder
) -> FittedPrompt:
    """The reflector's prompt: a wrong response beside its peer, or a correct one alone."""
    prompts, own = builder.prompts, response[row["rollout_id"]]
    parts = {"problem": problem["prompt"], "gold": problem["answer"]}
    if row["kind"] == "correct":
        template, parts = prompts.reflect_correct, parts | {"correct": own}
    else:
        parts |= {"correct": without_thinking(response[row["peer_id"]]), "wrong": own}
        template = prompts.reflect_wrong
    return builder.build(template, row["rollout_id"], problem["system"], **parts)


def quote_grammar_of(quote_chars: tuple[int, int] | None) -> GrammarOf:
    """The grammar under which only pieces of a response, of these lengths, can be quoted."""
    if quote_chars is None:
        return lambda response: None
    from rosd_core.sampling.quote_grammar import quote_grammar  # needs llguidance

    return lambda response: quote_grammar(response, *quote_chars)


def reflect_rows(
    tasks: Sequence[ReflectionTask],
    engine: Engine,
    tokenizer: "PreTrainedTokenizerBase",
    decoding: Decoding,
    seeds: tuple[int, str],
    grammar_of: GrammarOf,
) -> list[ReflectionRow]:
    """The reflector's answers, with quotes and idea read from them. `seeds` are the stage's seed
    and the iteration. Grammars restrict reflections on wrong responses.
    """
    requests = []
    for task in tasks:
        if task.prompt is not None:
            seed = row_seed(*seeds, task.rollout_id)
            own = grammar_of(task.response) if task.kind == "wrong" else None
            requests.append(Request(task.rollout_id, task.prompt.ids, seed, own))
    completions = engine.generate(requests, decoding)
    answers = {
        request.row_id: (decode(tokenizer, completion.token_ids), completion, request.grammar)
        for request, completion in zip(requests, completions, strict=True)
    }
    return [_row(task, answers.get(task.rollout_id)) for task in tasks]


def _row(task: ReflectionTask, answer: tuple[str, Completion, str | None] | None) -> ReflectionRow:
    row: ReflectionRow = {
        "rollout_id": task.rollout_id,
        "problem_id": task.problem_id,
        "kind": task.kind,
        "peer_id": task.peer_id,
        "messages": None,
        "shortened": None,
        "raw": None,
        "idea": None,
        "quotes": None,
        "status": "skipped",
        "repairs": None,
        "skip_reason": task.skip_reason,
    }
    if answer is not None and task.prompt is not None:
        raw, completion, grammar = answer
        reflection = _read(raw, task, completion.finish_reason, grammar)
        row["messages"], row["shortened"] = task.prompt.messages, task.prompt.shortened
        row["raw"], row["idea"], row["quotes"] = raw, reflection.idea, reflection.quotes
        row["status"], row["repairs"] = reflection.status, reflection.repairs
    return row


def _read(raw: str, task: ReflectionTask, finish_reason: str, grammar: str | None) -> Reflection:
    if grammar is not None:
        return parse_constrained(raw, task.response, finish_reason)
    return parse_reflection(raw, task.kind, finish_reason)
