"""The quote grammar under vLLM: `pytest -m slow tests/test_vllm.py` in an environment that has it.

Its CPU build will do, with VLLM_ENABLE_V1_MULTIPROCESSING=0 VLLM_CPU_OMP_THREADS_BIND=nobind and
VLLM_CPU_KVCACHE_SPACE=1 in the environment.
"""

import importlib
import importlib.util
import re
from random import Random

import pytest

from rosd_core.config.load import load_params
from rosd_core.config.prompts import FIELDS
from rosd_core.pocket.oracle import wrong_solution
from rosd_core.pocket.world import make_problem
from rosd_core.prompts.chat import decode, encode_chat
from rosd_core.prompts.templates import Prompts
from rosd_core.sampling.engine import Decoding, Request, open_engine
from rosd_core.sampling.quote_grammar import quote_grammar
from tests.support import ROOT

SHORTEST, LONGEST, TOKENS = 8, 24, 96


@pytest.fixture(scope="module")
def vllm():
    if importlib.util.find_spec("vllm") is None:
        pytest.skip("vllm is not installed: it needs an environment of its own")
    library = importlib.import_module("vllm")
    model = library.LLM(
        str(ROOT / "models" / "base"),
        dtype="float32",
        enforce_eager=True,
        enable_chunked_prefill=False,
        max_model_len=512,
        seed=0,
        structured_outputs_config={"backend": "guidance"},
    )
    return library, model


@pytest.fixture(scope="module")
def reflections():
    """Reflection prompts on wrong solutions, and a grammar for each."""
    prompts = Prompts(load_params(ROOT / "params.yaml").prompts.only(*FIELDS))
    forget = {"carry": 0.45, "borrow": 0.45, "regroup": 0.5}
    problems = [make_problem(78, "chain", "vllm", n) for n in range(40)]
    pairs = [
        (p, wrong_solution(p.program, Random(n), forget, 0.0))
        for n, p in enumerate(problems)
        if p.program is not None
    ]
    return [
        (prompts.reflect_wrong(p.prompt, p.answer, p.solution, w.text), w.text)
        for p, w in pairs
        if w is not None
    ]


def generated(vllm, prompt_ids, grammars, temperature, seed=0):
    library, model = vllm
    structured = importlib.import_module("vllm.sampling_params").StructuredOutputsParams
    ways = [
        library.SamplingParams(
            temperature=temperature,
            max_tokens=TOKENS,
            seed=seed + n if temperature else None,
            structured_outputs=structured(grammar=grammar),
        )
        for n, grammar in enumerate(grammars)
    ]
    answers = model.generate(
        [{"prompt_token_ids": ids} for ids in prompt_ids], ways, use_tqdm=False
    )
    return [(a.outputs[0].token_ids, a.outputs[0].finish_reason) for a in answers]


@pytest.mark.slow
def test_one_grammar_binds_both_engines(vllm, reflections):
    """At temperature 2 a pocket model writes nonsense, and what it quotes is a piece of the
    response all the same; greedily both engines write the same tokens.
    """
    engine, tokenizer = open_engine("transformers", ROOT / "models" / "base", "cpu", 16384)
    prompt_ids = [list(encode_chat(tokenizer, messages)) for messages, _ in reflections]
    grammars = [quote_grammar(response, SHORTEST, LONGEST) for _, response in reflections]

    greedy = generated(vllm, prompt_ids, grammars, 0.0)
    requests = [
        Request(str(n), ids, 0, grammar)
        for n, (ids, grammar) in enumerate(zip(prompt_ids, grammars, strict=True))
    ]
    ours = engine.generate(requests, Decoding(0.0, 1.0, TOKENS))
    assert [list(ids) for ids, _ in greedy] == [list(c.token_ids) for c in ours]

    found = 0
    for (ids, _), (_, response) in zip(
        generated(vllm, prompt_ids, grammars, 2.0, seed=1) + greedy, reflections * 2, strict=True
    ):
        text = decode(tokenizer, list(ids))
        for quote in re.findall("<error_quote>(.*?)</error_quote>", text, re.DOTALL):
            found += 1
            assert quote in response
            assert min(SHORTEST, len(response)) <= len(quote) <= LONGEST
    assert found >= len(reflections)
    print(len(reflections), "responses,", found, "quotes")
