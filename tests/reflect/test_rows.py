"""Asking the reflector: prefill, further attempts, what is counted."""

import polars as pl
import pytest

from rosd_core.prompts.fit import FittedPrompt
from rosd_core.reflect.contract import Contract
from rosd_core.reflect.metrics import reflection_metrics
from rosd_core.reflect.reflector import EngineReflector
from rosd_core.reflect.rows import ReflectionTask, reflect_rows
from rosd_core.sampling.engine import Completion, Decoding
from rosd_core.tables.io import to_arrow

FREE = Contract("free", (4, 20), (4, 20), {"wrong": "", "correct": ""})
FIRST, AGAIN = Decoding(0.0, 1.0, 50), Decoding(0.7, 1.0, 50)


class Scripted:
    """An engine whose answers are given, call by call; it remembers what it was asked."""

    def __init__(self, tokenizer, *calls):
        self.tokenizer, self.calls, self.asked = tokenizer, list(calls), []

    def generate(self, requests, decoding):
        self.asked.append((requests, decoding))
        texts = [self.calls[len(self.asked) - 1][r.row_id] for r in requests]
        ids = [self.tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
        return [Completion(i, [0.0] * len(i), "stop", [0.0] * len(i)) for i in ids]


def task(name, kind="wrong"):
    prompt = FittedPrompt([{"role": "user", "content": "?"}], [1, 2], None)
    skipped = name == "s"
    return ReflectionTask(
        name, "p", kind, "p/0", "no_success" if skipped else None, "1+1=3",
        None if skipped else prompt,
    )  # fmt: skip


GOOD = "<error_quote>1+1=3</error_quote><explanation>It is 2.</explanation>"


def test_only_unreadable_answers_are_asked_for_again(tokenizer):
    engine = Scripted(
        tokenizer,
        {"a": GOOD, "b": "1 2", "c": "1 2 3"},
        {"b": "", "c": GOOD},
        {"b": "4"},
    )
    tasks = [task("a"), task("s"), task("b"), task("c")]
    rows = reflect_rows(
        tasks, EngineReflector(engine, tokenizer, "m"), [FIRST, AGAIN, AGAIN], (1, "i1"), FREE
    )
    assert [r["rollout_id"] for r in rows] == ["a", "s", "b", "c"]
    assert [(r["status"], r["attempts"]) for r in rows] == [
        ("ok", 1), ("skipped", 0), ("no_idea", 3), ("ok", 2),
    ]  # fmt: skip
    assert [r["raw"] for r in rows] == [GOOD, None, "4", GOOD]
    asked = [[r.row_id for r in requests] for requests, _ in engine.asked]
    assert asked == [["a", "b", "c"], ["b", "c"], ["b"]]
    assert [decoding.temperature for _, decoding in engine.asked] == [0.0, 0.7, 0.7]
    seeds = {r.seed for requests, _ in engine.asked for r in requests if r.row_id == "b"}
    assert len(seeds) == 3

    def size(text):
        return len(tokenizer(text, add_special_tokens=False)["input_ids"])

    tokens = [r["answer_tokens"] for r in rows]
    assert tokens == [size(GOOD), 0, size("1 2") + size("4"), size("1 2 3") + size(GOOD)]

    frame = pl.from_arrow(to_arrow("reflections", rows))
    assert isinstance(frame, pl.DataFrame)
    metrics = reflection_metrics(frame)
    assert metrics["readable_share"] == pytest.approx(2 / 3)
    assert metrics["status"] == {"no_idea": 1, "ok": 2}
    assert metrics["skipped"] == {"no_success": 1}
    assert metrics["asked_again"] == 2
    assert metrics["tokens"] == sum(tokens)


def test_a_prefill_is_part_of_the_prompt_and_of_the_answer(tokenizer):
    start, rest = "<error_quote>", GOOD.removeprefix("<error_quote>")
    contract = Contract("free", (4, 20), (4, 20), {"wrong": start, "correct": ""})
    engine = Scripted(tokenizer, {"a": rest})
    (row,) = reflect_rows(
        [task("a")], EngineReflector(engine, tokenizer, "m"), [FIRST], (1, "i1"), contract
    )
    assert (row["raw"], row["status"], row["quotes"]) == (GOOD, "ok", ("1+1=3",))
    ((request,), _) = engine.asked[0]
    assert request.prompt_ids == [1, 2, *tokenizer(start, add_special_tokens=False)["input_ids"]]


def test_forced_answers_have_grammars_for_both_kinds():
    forced = Contract("forced", (4, 20), (4, 20), {"wrong": "", "correct": ""})
    assert "error_quote" in (forced.grammar("wrong", "1+1=3") or "")
    assert "error_quote" not in (forced.grammar("correct", "1+1=2") or "error_quote")
    assert forced.grammar("wrong", " ") is None  # nothing to quote
    constrained = Contract("constrained", (4, 20), (4, 20), {"wrong": "", "correct": ""})
    assert constrained.grammar("correct", "1+1=2") is None
    assert FREE.grammar("wrong", "1+1=3") is None
