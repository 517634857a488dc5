"""Constrained quotes: what is sampled under the grammar is a piece of the response."""

import re

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from rosd_core.errors import RosdError
from rosd_core.prompts.chat import decode
from rosd_core.reflect.parse import parse_reflection
from rosd_core.sampling.engine import Decoding, Request
from rosd_core.sampling.quote_grammar import forced_grammar, quote_grammar
from rosd_core.sampling.transformers_engine import TransformersEngine

RESPONSES = ["37+25=52\n52-18=44\nAnswer: 44", 'He said "5 < 6" and \\frac{1}{2} = €3.', "no"]


@pytest.fixture(scope="module")
def engine(tiny, tokenizer):
    return TransformersEngine(tiny, [tokenizer.eos_token_id], 0, 8, tokenizer)


def replies(engine, tokenizer, grammars, seeds=range(1)):
    requests = [
        Request(f"{n}-{seed}", [5, 6, 7], seed, grammar)
        for n, grammar in enumerate(grammars)
        for seed in seeds
    ]
    done = engine.generate(requests, Decoding(1.0, 1.0, 120))
    return [(decode(tokenizer, c.token_ids), c) for c in done]


# The random model writes noise; so that it comes to quote within 120 tokens, no text may go before.
AT_ONCE = 'start: "<error_quote>" quoted "</error_quote>" after\n'


@pytest.mark.parametrize("response", RESPONSES)
def test_every_quote_is_a_piece_of_the_response(engine, tokenizer, response):
    grammar = quote_grammar(response, 4, 20)
    assert grammar is not None
    lines = grammar.splitlines(keepends=True)
    grammar = AT_ONCE + "".join(line for line in lines if not line.startswith(("start", "before")))
    for text, _ in replies(engine, tokenizer, [grammar], range(12)):
        (quote,) = parse_reflection(text, "wrong", "stop").quotes
        assert quote.strip("\n") in response
        raw = text.split("<error_quote>")[1].split("</error_quote>")[0]
        assert raw in response
        assert min(4, len(response)) <= len(raw) <= 20


def test_rows_with_and_without_grammar_in_one_batch(engine, tokenizer):
    free, bound = replies(engine, tokenizer, [None, 'start: "37+25=52"'])
    assert bound[0] == "37+25=52"
    assert bound[1].finish_reason == "stop"
    (alone,) = replies(engine, tokenizer, [None])
    assert free[1].token_ids == alone[1].token_ids


def test_the_whole_grammar_is_valid_and_an_empty_response_has_none(engine, tokenizer):
    assert quote_grammar("", 4, 20) is None
    assert quote_grammar(" \n", 4, 20) is None  # nothing that could be seen
    for response in RESPONSES:
        (done,) = replies(engine, tokenizer, [quote_grammar(response, 4, 20)])
        assert done[1].token_ids


def test_a_bad_grammar_names_the_row(engine, tokenizer):
    with pytest.raises(RosdError, match="row 0-0: the grammar is not valid"):
        replies(engine, tokenizer, ["start: ("])


FORCED = re.compile(
    r"<error_quote>(.*)</error_quote>\n<explanation>([^<]*)</explanation>", re.DOTALL
)


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.text(alphabet='ab1= \n<>"\\é', min_size=1, max_size=60).filter(lambda t: t.strip()),
    st.integers(1, 6),
    st.integers(6, 20),
)
@example("11111 1", 6, 6)  # no run of words has six characters
def test_forced_answers_are_a_quote_of_whole_words_and_an_idea(
    engine, tokenizer, response, least, most
):
    grammar = forced_grammar(response, (least, most), (3, 12))
    (text, done), *_ = replies(engine, tokenizer, [grammar])
    found = FORCED.fullmatch(text)
    assert done.finish_reason == "stop"
    assert found is not None, text
    quote, idea = found.groups()
    assert len(quote) <= most
    assert 3 <= len(idea) <= 12
    # whole words: a run of them stands in the response, unless one is longer than a quote may be
    if max(map(len, response.split())) <= most:
        assert re.search(rf"(?<!\S){re.escape(quote)}(?!\S)", response)
        words = [m.span() for m in re.finditer(r"\S+", response)]
        lengths = [b - a for a, _ in words for _, b in words if a < b]
        if any(least <= length <= most for length in lengths):
            assert len(quote) >= least
        else:
            assert len(quote) == max(length for length in lengths if length <= most)


def test_a_forced_answer_to_a_correct_response_is_an_idea_alone(engine, tokenizer):
    (text, _), *_ = replies(engine, tokenizer, [forced_grammar(None, (4, 20), (5, 9))])
    assert re.fullmatch(r"<explanation>[^<]{5,9}</explanation>", text)
    assert forced_grammar(" \n", (4, 20), (5, 9)) is None
