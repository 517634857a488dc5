"""Reflection: who reflects on what with which peer, and how the reflector's answer is written and
read.
"""

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import polars as pl

from rosd_core.errors import RosdError
from rosd_core.prompts.fit import fit
from rosd_core.prompts.templates import Messages, Prompts
from rosd_core.prompts.thinking import without_thinking
from rosd_core.reflect.parse import parse_constrained, parse_reflection
from rosd_core.seeds import row_seed

if TYPE_CHECKING:  # torch is needed where an engine runs, not to parse
    from transformers import PreTrainedTokenizerBase

    from rosd_core.sampling.engine import Decoding, Engine


def reflection_tasks(
    problems: pl.DataFrame,
    rollouts: pl.DataFrame,
    peers: pl.DataFrame,
    prompts: Prompts,
    tokenizer: "PreTrainedTokenizerBase",
    longest: int,
) -> list[dict[str, Any]]:
    """One task per rollout, in the order of the rollouts: the columns of `peers` and the
    reflector's messages, of at most `longest` tokens.

    Raises RosdError for a rollout of a problem that the problems table does not hold.
    """
    from rosd_core.prompts.chat import encode_chat

    def encode(messages: Messages) -> list[int]:
        return encode_chat(tokenizer, messages, prompts.thinking)

    by_id = {p["problem_id"]: p for p in problems.iter_rows(named=True)}
    response = dict(rollouts.select("rollout_id", "response").iter_rows())
    tasks = []
    for task in peers.iter_rows(named=True):
        if task["problem_id"] not in by_id:
            raise RosdError(
                f"rollout {task['rollout_id']}: problem {task['problem_id']} "
                "is not in the problems table."
            )
        problem, own = by_id[task["problem_id"]], response[task["rollout_id"]]
        known = {
            "problem": problem["prompt"],
            "gold": problem["answer"],
            "system": problem["system"],
        }
        asked = None
        if task["skip_reason"] is None and task["kind"] == "correct":
            asked = fit(
                prompts.reflect_correct, encode, longest, task["rollout_id"], **known, correct=own
            )
        elif task["skip_reason"] is None:
            peer = without_thinking(response[task["peer_id"]])
            asked = fit(
                prompts.reflect_wrong,
                encode,
                longest,
                task["rollout_id"],
                **known,
                correct=peer,
                wrong=own,
            )
        read = asdict(asked) if asked else {"messages": None, "ids": None, "shortened": None}
        tasks.append(task | read | {"response": own})
    return tasks


def reflect_rows(
    tasks: Sequence[dict[str, Any]],
    engine: "Engine",
    tokenizer: "PreTrainedTokenizerBase",
    decoding: "Decoding",
    seed: int,
    iteration: str,
    quote_chars: tuple[int, int] | None,
) -> list[dict[str, Any]]:
    """Rows of the table `reflections`: the reflector's words, and quotes and idea read from them.

    With `quote_chars` (shortest, longest) a grammar allows only pieces of the response as quotes.
    """
    from rosd_core.prompts.chat import decode
    from rosd_core.sampling.engine import Request

    def grammar(task: dict[str, Any]) -> str | None:
        if quote_chars is None or task["kind"] == "correct":
            return None
        from rosd_core.sampling.quote_grammar import quote_grammar

        return quote_grammar(task["response"], *quote_chars)

    asked = [t for t in tasks if t["messages"] is not None]
    grammars = {t["rollout_id"]: grammar(t) for t in asked}
    requests = [
        Request(
            t["rollout_id"],
            t["ids"],
            row_seed(seed, iteration, t["rollout_id"]),
            grammars[t["rollout_id"]],
        )
        for t in asked
    ]
    answers = dict(
        zip((t["rollout_id"] for t in asked), engine.generate(requests, decoding), strict=True)
    )
    rows = []
    for task in tasks:
        row = {k: v for k, v in task.items() if k not in ("response", "ids")}
        row |= dict.fromkeys(("raw", "idea", "quotes", "repairs"))
        row["status"] = "skipped"
        if task["rollout_id"] in answers:
            answer = answers[task["rollout_id"]]
            raw = decode(tokenizer, answer.token_ids)
            if grammars[task["rollout_id"]]:
                parsed = parse_constrained(raw, task["response"], answer.finish_reason)
            else:
                parsed = parse_reflection(raw, task["kind"], answer.finish_reason)
            row |= {"raw": raw} | asdict(parsed)
        rows.append(row)
    return rows
