"""vLLM in process against our engine: `make test-vllm`, in an environment of its own.

Its CPU build will do. One engine serves all tests of this file.
"""

import importlib.util
import re
from random import Random

import pytest
import torch

from rosd_core.config.load import load_params
from rosd_core.config.prompts import FIELDS
from rosd_core.errors import RosdError
from rosd_core.pocket.oracle import wrong_solution
from rosd_core.pocket.world import make_problem
from rosd_core.prompts.chat import decode, encode_chat
from rosd_core.prompts.templates import Prompts
from rosd_core.sampling.draw import nucleus_logp
from rosd_core.sampling.engine import (
    Decoding,
    EngineSettings,
    Request,
    VllmSettings,
    open_engine,
)
from rosd_core.sampling.quote_grammar import forced_grammar, quote_grammar
from tests.support import ROOT

SHORTEST, LONGEST, TOKENS = 8, 24, 96
BASE = ROOT / "models" / "base"

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.skipif(
        importlib.util.find_spec("vllm") is None, reason="vLLM is not installed: make test-vllm"
    ),
]


@pytest.fixture(scope="module")
def theirs():
    torch.set_num_threads(1)
    vllm = VllmSettings("float32", 0.85, 1, 1, 1, True, {})
    return open_engine(EngineSettings("vllm", "cpu", 32768, 512, vllm), BASE)[0]


@pytest.fixture(scope="module")
def ours():
    return open_engine(EngineSettings("transformers", "cpu", 32768), BASE)[0]


@pytest.fixture(scope="module")
def reflections(tokenizer):
    """Requests to reflect on wrong solutions, and these solutions."""
    prompts = Prompts(load_params(ROOT / "params.yaml").prompts.only(*FIELDS))
    forget = {"carry": 0.45, "borrow": 0.45, "regroup": 0.5}
    requests, responses = [], []
    for n in range(24):
        problem = make_problem(78, "chain", "vllm", n)
        assert problem.program is not None
        wrong = wrong_solution(problem.program, Random(n), forget, 0.0)
        if wrong is not None:
            messages = prompts.reflect_wrong(
                problem.prompt, problem.answer, problem.solution, wrong.text
            )
            requests.append(Request(str(n), encode_chat(tokenizer, messages), 1000 + n))
            responses.append(wrong.text)
    return requests, responses


@pytest.fixture(scope="module")
def groups(tokenizer):
    """Rollout requests: four samples of each problem, each with a seed of its own."""
    rows = []
    for n in range(12):
        problem = make_problem(79, "chain", "vllm", n)
        ids = encode_chat(tokenizer, [{"role": "user", "content": problem.prompt}])
        rows += [Request(f"{n}/{g}", ids, 2**63 + 1000 * n + 2 * g) for g in range(4)]
    return rows


def test_greedy_is_ours(theirs, ours, groups):
    found = theirs.generate(groups, Decoding(0.0, 1.0, 64, model_logprobs=True))
    for their, our in zip(found, ours.generate(groups, Decoding(0.0, 1.0, 64)), strict=True):
        assert their.token_ids == our.token_ids
        assert their.finish_reason == our.finish_reason == "stop"
        assert their.logprobs == pytest.approx(our.logprobs, abs=2e-5)


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.7, 0.9)])
def test_sampled_logprobs_are_those_of_the_plain_forward_pass(
    theirs, ours, groups, temperature, top_p
):
    """And rows depend on their seed alone: neither on order nor on what is beside them."""
    decoding = Decoding(temperature, top_p, 64, model_logprobs=True)
    found = theirs.generate(groups, decoding)
    again = theirs.generate(groups[::-1], decoding)[::-1]
    assert [c.token_ids for c in again] == [c.token_ids for c in found]
    assert [c.token_ids for c in theirs.generate(groups[5:8], decoding)] == [
        c.token_ids for c in found[5:8]
    ]
    assert len({tuple(c.token_ids) for c in found}) > len(groups) / 2
    for request, completion in zip(groups[:12], found, strict=False):
        ids = torch.tensor([[*request.prompt_ids, *completion.token_ids]])
        with torch.inference_mode():
            logits = ours.model(ids).logits[0, len(request.prompt_ids) - 1 : -1]
        token = torch.tensor(completion.token_ids)
        behaviour = nucleus_logp(logits, token, temperature, top_p).tolist()
        assert completion.logprobs == pytest.approx(behaviour, abs=5e-5)
        own = nucleus_logp(logits, token, 1.0, 1.0).tolist()
        assert completion.model_logprobs == pytest.approx(own, abs=5e-5)


def test_prompt_and_response_may_fill_what_a_stage_allows(theirs):
    """The engine of these tests was opened for 512 tokens, which is the model's whole context."""
    full = Request("full", [5] * 448, 1)
    (done,) = theirs.generate([full], Decoding(1.0, 1.0, 64, model_logprobs=True))
    assert done.token_ids
    with pytest.raises(RosdError, match="row full: a prompt of 448 tokens and 65 new ones"):
        theirs.generate([full], Decoding(0.7, 1.0, 64, model_logprobs=True))


def restricted(requests, grammars):
    return [
        Request(r.row_id, r.prompt_ids, r.seed, g) for r, g in zip(requests, grammars, strict=True)
    ]


def test_one_grammar_binds_both_engines(theirs, ours, reflections, tokenizer):
    """At temperature 2 a pocket model writes nonsense, and what it quotes is a piece of the
    response all the same; greedily both engines write the same tokens.
    """
    requests, responses = reflections
    bound = restricted(requests, [quote_grammar(text, SHORTEST, LONGEST) for text in responses])
    greedy = theirs.generate(bound, Decoding(0.0, 1.0, TOKENS))
    plain = ours.generate(bound, Decoding(0.0, 1.0, TOKENS))
    assert [c.token_ids for c in greedy] == [c.token_ids for c in plain]
    hot, found = theirs.generate(bound, Decoding(2.0, 1.0, TOKENS)), 0
    for completion, response in zip(hot + greedy, responses * 2, strict=True):
        text = decode(tokenizer, completion.token_ids)
        for quote in re.findall("<error_quote>(.*?)</error_quote>", text, re.DOTALL):
            found += 1
            assert quote in response
            assert min(SHORTEST, len(response)) <= len(quote) <= LONGEST
    assert found >= len(requests)


def test_a_forced_answer_is_nothing_but_the_tags(theirs, reflections, tokenizer):
    requests, responses = reflections
    bound = restricted(requests, [forced_grammar(t, (4, 40), (8, 60)) for t in responses])
    for completion, response in zip(
        theirs.generate(bound, Decoding(1.0, 1.0, TOKENS)), responses, strict=True
    ):
        text = decode(tokenizer, completion.token_ids)
        parts = re.fullmatch(
            r"<error_quote>(.*)</error_quote>\n<explanation>(.*)</explanation>", text, re.DOTALL
        )
        if completion.finish_reason == "stop":
            assert parts is not None, text
            assert parts[1] in response
