"""Reflection: who reflects on what with which peer, and how the reflector's answer is written and
read.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from rosd_core.errors import RosdError
from rosd_core.prompts import Prompts
from rosd_core.seeds import row_seed

if TYPE_CHECKING:  # torch is needed where an engine runs, not to parse
    from transformers import PreTrainedTokenizerBase

    from rosd_core.engine import Decoding, Engine

_QUOTE = re.compile(r"<error_quote>(.*?)</error_quote>", re.DOTALL)
_IDEA = re.compile(
    r"<explai?nation>(.*?)</explai?nation>", re.DOTALL
)  # the published contract misspells it


@dataclass(frozen=True)
class Reflection:
    """What was read from a reflector's answer; `status` is the enum of `reflections.status`."""

    quote: str | None
    idea: str | None
    status: str


def format_reflection(quote: str | None, idea: str, check: str = "") -> str:
    """A well-formed reflection, after the reasoning `check`; `parse_reflection` inverts it."""
    head = "" if quote is None else f"<error_quote>{quote}</error_quote>"
    return f"{check}{head}<explanation>{idea}</explanation>"


def parse_reflection(raw: str, kind: str, finish_reason: str) -> Reflection:
    """Read quote and idea. Never raises: what is missing is said in `status`."""
    quote_match, idea_match = _QUOTE.search(raw), _IDEA.search(raw)
    quote = quote_match.group(1) if quote_match and kind == "wrong" else None
    idea = idea_match.group(1).strip() if idea_match else None
    if not idea:
        return Reflection(quote, None, "truncated" if finish_reason == "length" else "no_idea")
    if kind == "wrong" and not (quote and quote.strip()):
        return Reflection(None, idea, "no_quote")
    return Reflection(quote, idea, "ok")


def choose_peers(rollouts: pl.DataFrame, seed: int) -> pl.DataFrame:
    """Kind, peer and skip reason of every rollout.

    A wrong rollout gets one of its group's correct rollouts, drawn by a seed of its own, so that
    one peer does not serve the whole group. A group without success is skipped: there is nothing to
    show to the reflector.
    """
    correct = (
        rollouts.filter("success")
        .group_by("problem_id")
        .agg(pl.col("rollout_id").sort().alias("peers"))
    )
    rows = rollouts.select("rollout_id", "problem_id", "success").join(
        correct, "problem_id", "left", maintain_order="left"
    )

    def pick(row: dict) -> str | None:
        if row["success"] or row["peers"] is None:
            return None
        return row["peers"][row_seed(seed, "peer", row["rollout_id"]) % len(row["peers"])]

    peers = [pick(row) for row in rows.iter_rows(named=True)]
    return rows.select(
        "rollout_id",
        "problem_id",
        pl.when("success").then(pl.lit("correct")).otherwise(pl.lit("wrong")).alias("kind"),
        pl.Series("peer_id", peers, pl.String),
        pl.when(pl.col("peers").is_null()).then(pl.lit("no_success")).alias("skip_reason"),
    )


def reflection_tasks(
    problems: pl.DataFrame, rollouts: pl.DataFrame, peers: pl.DataFrame, prompts: Prompts
) -> list[dict[str, Any]]:
    """One task per rollout, in the order of the rollouts: the columns of `peers` and the
    reflector's messages.

    Raises RosdError for a rollout of a problem that the problems table does not hold.
    """
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
        messages = None
        if task["skip_reason"] is None and task["kind"] == "correct":
            messages = prompts.reflect_correct(**known, correct=own)
        elif task["skip_reason"] is None:
            messages = prompts.reflect_wrong(**known, correct=response[task["peer_id"]], wrong=own)
        tasks.append(task | {"messages": messages})
    return tasks


def reflect_rows(
    tasks: Sequence[dict[str, Any]],
    engine: "Engine",
    tokenizer: "PreTrainedTokenizerBase",
    decoding: "Decoding",
    seed: int,
    iteration: str,
) -> list[dict[str, Any]]:
    """Rows of the table `reflections`: the reflector's words, and quote and idea read from them."""
    from rosd_core.engine import Request, decode, encode_chat

    asked = [t for t in tasks if t["messages"] is not None]
    requests = [
        Request(
            t["rollout_id"],
            encode_chat(tokenizer, t["messages"]),
            row_seed(seed, iteration, t["rollout_id"]),
        )
        for t in asked
    ]
    answers = dict(
        zip((t["rollout_id"] for t in asked), engine.generate(requests, decoding), strict=True)
    )
    rows = []
    for task in tasks:
        row = task | {"raw": None, "idea": None, "quote": None, "status": "skipped"}
        if task["rollout_id"] in answers:
            answer = answers[task["rollout_id"]]
            raw = decode(tokenizer, answer.token_ids)
            parsed = parse_reflection(raw, task["kind"], answer.finish_reason)
            row |= {"raw": raw, "idea": parsed.idea, "quote": parsed.quote, "status": parsed.status}
        rows.append(row)
    return rows
