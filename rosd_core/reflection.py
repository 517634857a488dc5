"""Reflection: who reflects on what with which peer, and how the reflector's answer is written and
read.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from rosd_core.errors import RosdError
from rosd_core.prompts import Messages, Prompts, fit
from rosd_core.seeds import row_seed

if TYPE_CHECKING:  # torch is needed where an engine runs, not to parse
    from transformers import PreTrainedTokenizerBase

    from rosd_core.engine import Decoding, Engine

_CLOSED_THOUGHT = re.compile(
    r"<think(?:ing)?>(?:(?!<think(?:ing)?>).)*?</think(?:ing)?>", re.DOTALL | re.IGNORECASE
)
_END_OF_THOUGHT = re.compile(r"</think(?:ing)?>", re.IGNORECASE)
_OPEN_THOUGHT = re.compile(r"\s*<think(?:ing)?>", re.IGNORECASE)
_FENCE = re.compile(
    r"(?<![^\n])[ \t]{0,8}```[\w+-]{0,20}[ \t]{0,8}(?=<|\n|\Z)\n?|```[ \t]{0,8}(?=\n|\Z)"
)
# The published contract misspells it `explaination`; models misspell the rest.
_QUOTE_NAME, _IDEA_NAME = r"err?or[ _-]?quotes?", r"expl(?:ain|an)ations?"
_TAG = re.compile(
    rf"<\s{{0,3}}(?P<close>/?)\s{{0,3}}(?:(?P<quote>{_QUOTE_NAME})|(?P<idea>{_IDEA_NAME}))\s{{0,3}}>?",
    re.IGNORECASE,
)
_LITERAL_QUOTE = re.compile(r"<error_quote>(.*?)</error_quote>", re.DOTALL)


@dataclass(frozen=True)
class Reflection:
    """What was read from a reflector's answer; `status` and `repairs` are enums of the table."""

    quotes: tuple[str, ...]
    idea: str | None
    status: str
    repairs: tuple[str, ...]


def format_reflection(quote: str | None, idea: str, check: str = "") -> str:
    """A well-formed reflection, after the reasoning `check`; `parse_reflection` inverts it."""
    head = "" if quote is None else f"<error_quote>{quote}</error_quote>"
    return f"{check}{head}<explanation>{idea}</explanation>"


def _answer_part(raw: str) -> str:
    """What follows the thinking: blocks are cut out, and all before a closing tag that was never
    opened (a prompt may open it). A block that never ends is all there is.
    """
    text = _CLOSED_THOUGHT.sub("", raw)
    closers = list(_END_OF_THOUGHT.finditer(text))
    if closers:
        text = text[closers[-1].end() :]
    return "" if _OPEN_THOUGHT.match(text) else text


def without_thoughts(text: str) -> str:
    """A response without its thinking: what may be shown as a demonstration."""
    answer = _answer_part(text)
    return text if answer == text else answer.lstrip()


def _sections(text: str) -> list[tuple[str, str, bool]]:
    """(name, content, closed) of each opened tag, in order.

    What is not closed ends at the next tag or at the end. An explanation that is closed before the
    next one opens is taken whole: quote tags in it belong to its words.
    """
    sections, tags, number = [], list(_TAG.finditer(text)), 0
    while number < len(tags):
        tag, number = tags[number], number + 1
        if tag["close"]:
            continue
        name = "quote" if tag["quote"] else "idea"
        last = number
        if name == "idea":
            ends = (n for n in range(number, len(tags)) if tags[n]["idea"])
            last = next(ends, number)
            if last < len(tags) and not tags[last]["close"]:
                last = number
        following = tags[last] if last < len(tags) else None
        content = text[tag.end() : following.start() if following else len(text)]
        closed = following is not None and bool(following["close"]) and bool(following[name])
        sections.append((name, _TAG.sub("", content) if name == "idea" else content, closed))
        number = last
    return sections


def _json_sections(text: str) -> list[tuple[str, str, bool]]:
    """The sections of an answer that is a JSON object in place of tags."""
    at = text.find("{")
    try:
        data = json.JSONDecoder(strict=False).raw_decode(text, at)[0] if at >= 0 else None
    except (ValueError, RecursionError):
        return []
    sections = []
    for key, value in (data if isinstance(data, dict) else {}).items():
        named = _TAG.match(f"<{key}>")
        for content in value if isinstance(value, list) else [value]:
            if named and isinstance(content, str):
                clean = content.encode("utf-8", "replace").decode()  # no lone surrogates
                sections.append(("quote" if named["quote"] else "idea", clean, True))
    return sections


def parse_reflection(raw: str, kind: str, finish_reason: str) -> Reflection:
    """Read quotes and idea. Never raises: what is missing is said in `status`, what was mended in
    `repairs`.

    Reasoning before the answer is ignored (`thought`), so are code fences (`fence`); a tag that is
    not closed ends where the next one starts (`unclosed`); several explanations are joined
    (`several_ideas`); a JSON object may stand for the tags (`json`).
    """
    repairs = []
    text = _answer_part(raw)
    repairs += ["thought"] * (text != raw)
    if "```" in text:
        text = _FENCE.sub("", text)
        repairs.append("fence")
    sections = _sections(text)
    if not sections and (sections := _json_sections(text)):
        repairs.append("json")
    if sections and sections[-1][0] == "idea" and not sections[-1][2] and finish_reason == "length":
        sections.pop()  # the idea was cut off: half of it may say the opposite
    repairs += ["unclosed"] * any(not closed for _, _, closed in sections)
    quotes = [content.strip("\r\n") for name, content, _ in sections if name == "quote"]
    ideas = [content.strip() for name, content, _ in sections if name == "idea"]
    quotes, ideas = ([t for t in dict.fromkeys(texts) if t.strip()] for texts in (quotes, ideas))
    repairs += ["several_ideas"] * (len(ideas) > 1)
    if kind != "wrong":
        quotes = []
    if not ideas:
        status = "truncated" if finish_reason == "length" else "no_idea"
    else:
        status = "no_quote" if kind == "wrong" and not quotes else "ok"
    idea = "\n".join(ideas) or None
    return Reflection(tuple(quotes), idea, status, tuple(repairs))


def parse_constrained(raw: str, response: str, finish_reason: str) -> Reflection:
    """Read a reflection that was decoded under the quote grammar: only quotes in the very tags of
    the grammar count, and each is a piece of the response.

    Elsewhere the grammar leaves the reflector free, so that a misspelt tag there, which
    `parse_reflection` would mend, could hold anything.
    """
    loose = parse_reflection(raw, "wrong", finish_reason)
    found = (quote for quote in _LITERAL_QUOTE.findall(raw) if quote.strip())
    quotes = tuple(dict.fromkeys(quote for quote in found if quote in response))
    status = loose.status
    if loose.idea is not None:
        status = "ok" if quotes else "no_quote"
    return Reflection(quotes, loose.idea, status, loose.repairs)


def without_quotes(raw: str, quotes: Sequence[str]) -> str:
    """What the reflector wrote beside its quotes: it can tell between several places of a quote."""
    text = _TAG.sub(" ", raw)
    for quote in quotes:
        text = text.replace(quote, " ", 1)
    return text


def choose_peers(
    rollouts: pl.DataFrame, seed: int, enabled: bool = True, peer: str = "random"
) -> pl.DataFrame:
    """Kind, peer and skip reason of every rollout.

    The peer is one of the group's correct rollouts, never the rollout itself: drawn by a seed of
    its own, so that one peer does not serve the whole group (`random`), or the one of fewest tokens
    (`shortest`, the paper's choice). A wrong rollout of a group without
    success is skipped: there is nothing to show to the reflector.
    """
    shortest = peer == "shortest"
    order = [pl.col("response_ids").list.len()] * shortest + [pl.col("rollout_id")]
    correct = (
        rollouts.filter("success")
        .group_by("problem_id")
        .agg(pl.col("rollout_id").sort_by(*order).alias("peers"))
    )
    rows = rollouts.select("rollout_id", "problem_id", "success").join(
        correct, "problem_id", "left", maintain_order="left"
    )

    def pick(row: dict) -> str | None:
        peers = [peer for peer in row["peers"] or [] if peer != row["rollout_id"]]
        if not peers:
            return None
        drawn = row_seed(seed, "peer", row["rollout_id"]) % len(peers)
        return peers[0 if shortest else drawn]

    peers = [pick(row) for row in rows.iter_rows(named=True)]
    reason = pl.when(pl.col("peers").is_null()).then(pl.lit("no_success"))
    return rows.select(
        "rollout_id",
        "problem_id",
        pl.when("success").then(pl.lit("correct")).otherwise(pl.lit("wrong")).alias("kind"),
        pl.Series("peer_id", peers, pl.String),
        (reason if enabled else pl.lit("disabled")).alias("skip_reason"),
    )


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
    from rosd_core.engine import encode_chat

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
            peer = without_thoughts(response[task["peer_id"]])
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
    from rosd_core.engine import Request, decode

    def grammar(task: dict[str, Any]) -> str | None:
        if quote_chars is None or task["kind"] == "correct":
            return None
        from rosd_core.grammar import quote_grammar  # llguidance: only where it is asked for

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
