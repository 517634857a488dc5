"""A reflector behind a chat API: what it is asked, and what is read."""

import pytest

from rosd_core.errors import RosdError
from rosd_core.prompts.chat import decode, encode_chat
from rosd_core.prompts.fit import FittedPrompt
from rosd_core.reflect.chat_reflector import open_chat
from rosd_core.reflect.reflector import EngineReflector, Question
from rosd_core.sampling.engine import Decoding, EngineSettings, ServerSettings, open_engine
from rosd_core.sampling.quote_grammar import forced_grammar
from rosd_core.tables.progress import silent
from rosd_core.tables.row_types import Message
from tests.completions_server import Faults, serving
from tests.support import ROOT

BASE = ROOT / "models" / "base"
HOW = Decoding(0.0, 1.0, 24)


def settings(url):
    return EngineSettings("server", "cpu", 0, 100, None, ServerSettings(url, None, 2, 30, 0, None))


def questions(tokenizer):
    prompts: list[list[Message]] = [[{"role": "user", "content": f"{n} + 5 = ?"}] for n in range(3)]
    grammar = forced_grammar("1+1=3", (2, 5), (4, 8))
    fitted = [FittedPrompt(m, encode_chat(tokenizer, m), None) for m in prompts]
    return [
        Question("a", fitted[0], "", 8, None),
        Question("b", fitted[1], "It is", 8, None),
        Question("c", fitted[2], "", 8, grammar),
    ]


def test_it_answers_as_the_same_model_behind_an_engine(tokenizer):
    """Plain, with a prefill, and within a grammar."""
    engine, own = open_engine(EngineSettings("transformers", "cpu", 8192), BASE)
    ours = EngineReflector(engine, own, "hash").answer(questions(tokenizer), HOW)
    faults = Faults(names=("big", "small"))
    with serving(BASE, faults) as url:
        reflector = open_chat(settings("http://127.0.0.1:9"), "big", url, silent)
        assert reflector.answer(questions(tokenizer), HOW) == ours
    assert reflector.model == "big"
    assert ours[2].text.startswith("<error_quote>1")
    assert [body["messages"][-1]["role"] for body in faults.asked].count("assistant") == 1
    assert all("seed" not in body for body in faults.asked)  # greedy


def test_a_reflector_that_is_not_served_is_named():
    with serving(BASE) as url, pytest.raises(RosdError, match="no model 'big'; it has: student"):
        open_chat(settings(url), "big", None, silent)


def test_an_answer_without_choices_is_refused(tokenizer):
    with serving(BASE, Faults(odd=True)) as url:
        reflector = open_chat(settings(url), "student", None, silent)
        with pytest.raises(RosdError, match=r"no completion: .*out of memory"):
            reflector.answer(questions(tokenizer), HOW)


def test_tokens_and_the_end_are_told(tokenizer):
    with serving(BASE) as url:
        reflector = open_chat(settings(url), "student", None, silent)
        (short,) = reflector.answer(questions(tokenizer)[:1], Decoding(0.0, 1.0, 2))
    assert (short.tokens, short.finish_reason) == (2, "length")
    assert decode(tokenizer, tokenizer(short.text, add_special_tokens=False)["input_ids"])
