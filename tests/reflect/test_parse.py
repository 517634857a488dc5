import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rosd_core.prompts.thinking import after_thinking, thinking_spans, without_thinking
from rosd_core.reflect.parse import (
    format_reflection,
    parse_constrained,
    parse_reflection,
    without_quotes,
)

QUOTE, IDEA = "<error_quote>1+1=3</error_quote>", "<explanation>It is 2.</explanation>"


def parsed(raw, kind="wrong", finish="stop"):
    found = parse_reflection(raw, kind, finish)
    return found.quotes, found.idea, found.status, found.repairs


@pytest.mark.parametrize(
    ("raw", "kind", "finish", "expected"),
    [
        (QUOTE + IDEA, "wrong", "stop", (("1+1=3",), "It is 2.", "ok", ())),
        (IDEA, "correct", "stop", ((), "It is 2.", "ok", ())),
        (QUOTE + IDEA, "correct", "stop", ((), "It is 2.", "ok", ())),  # quotes mean nothing there
        (IDEA, "wrong", "stop", ((), "It is 2.", "no_quote", ())),
        ("<error_quote> </error_quote>" + IDEA, "wrong", "stop", ((), "It is 2.", "no_quote", ())),
        (QUOTE, "wrong", "stop", (("1+1=3",), None, "no_idea", ())),
        (QUOTE + "<explanation>It", "wrong", "length", (("1+1=3",), None, "truncated", ())),
        ("", "wrong", "stop", ((), None, "no_idea", ())),
        ("{", "wrong", "stop", ((), None, "no_idea", ())),
    ],
)
def test_parsing(raw, kind, finish, expected):
    assert parsed(raw, kind, finish) == expected


FINE = (("1+1=3",), "It is 2.", "ok")


@pytest.mark.parametrize(
    ("raw", "repairs"),
    [
        (QUOTE + IDEA.replace("expla", "explai"), ()),  # the published contract's spelling
        ("Line 1 is wrong.\n" + QUOTE + "\n" + IDEA + "\nDone.", ()),
        (QUOTE.replace("error_quote", "Error Quote") + IDEA, ()),
        ("<think>Is it <error_quote>x</error_quote>?</think>\n" + QUOTE + IDEA, ("thought",)),
        (f"```xml\n{QUOTE}\n{IDEA}\n```", ("fence",)),
        (QUOTE.replace("</error_quote>", "\n") + IDEA, ("unclosed",)),
        (QUOTE.replace("</error_quote>", "</explanation>") + IDEA, ("unclosed",)),
        (QUOTE + IDEA.replace("</explanation>", ""), ("unclosed",)),
        (QUOTE + IDEA.replace("</explanation>", "</explanation"), ()),
        (QUOTE + IDEA + IDEA, ()),  # said twice
        (QUOTE + QUOTE + IDEA, ()),
        ('{"error_quote": "1+1=3", "explanation": "It is 2."}', ("json",)),
    ],
)
def test_what_real_models_write_is_read(raw, repairs):
    assert parsed(raw) == (*FINE, repairs)


def test_several_errors_and_several_explanations():
    other = QUOTE.replace("3", "4") + "<explanation>Nor 4.</explanation>"
    wanted = (("1+1=3", "1+1=4"), "It is 2.\nNor 4.", "ok", ("several_ideas",))
    assert parsed(QUOTE + IDEA + other) == wanted
    both = '{"error_quote": ["a", "b"], "explanation": "c"}'
    assert parsed(both) == (("a", "b"), "c", "ok", ("json",))


def test_an_endless_thought_is_no_answer():
    assert parsed("<think>" + QUOTE + IDEA, finish="length") == (
        (),
        None,
        "truncated",
        ("thought",),
    )


TAGS = ["<error_quote>", "</error_quote>", "<explanation>", "</explanation>", "<think>", "```"]


@given(
    st.lists(st.one_of(st.sampled_from([*TAGS, "{", "}", '"']), st.text(max_size=5)), max_size=12),
    st.sampled_from(["wrong", "correct"]),
    st.sampled_from(["stop", "length"]),
)
def test_parsing_never_raises(parts, kind, finish):
    found = parse_reflection("".join(parts), kind, finish)
    assert found.status in {"ok", "no_idea", "no_quote", "truncated"}
    assert (found.status == "ok") == (
        found.idea is not None and (kind == "correct" or found.quotes != ())
    )


def test_what_is_formatted_is_parsed():
    assert parsed(format_reflection("a\nb", "c", "1 2\n")) == (("a\nb",), "c", "ok", ())


def test_what_stands_beside_the_quotes():
    beside = without_quotes("Line 2: " + QUOTE + IDEA, ["1+1=3"])
    assert beside.split() == ["Line", "2:", "It", "is", "2."]


@given(st.lists(st.sampled_from(["<think>", "</think>", "<thinking>", " ", "x"]), max_size=12))
def test_what_is_not_thinking_is_left(pieces):
    """Step by step: closed blocks go, then all before a closing tag, then a block left open."""
    text = "".join(pieces)
    left = re.sub(r"(?s)<think(ing)?>((?!<think(ing)?>).)*?</think(ing)?>", "", text)
    left = left.rpartition("</think>")[2]
    left = "" if left.lstrip().startswith(("<think>", "<thinking>")) else left
    spans = thinking_spans(text)
    assert after_thinking(text) == left
    assert [edge for span in spans for edge in span] == sorted(e for span in spans for e in span)


def test_demonstrations_are_shown_without_thinking():
    assert without_thinking("<think>\nhm\n</think>\n\nx = 2") == "x = 2"
    assert without_thinking("  x = 2") == "  x = 2"


@pytest.mark.parametrize(
    ("raw", "quotes", "idea"),
    [
        # thinking that the prompt opened, thinking within thinking, thinking that never ends
        (f"<error_quote>draft</error_quote></think>{QUOTE}{IDEA}", ("1+1=3",), "It is 2."),
        (f"<think>a <think> b</think> c</think>{QUOTE}{IDEA}", ("1+1=3",), "It is 2."),
        (f"<think>{QUOTE}{IDEA}", (), None),
        # an explanation that speaks of the tags
        (
            f"{QUOTE}<explanation>What <error_quote>stands</error_quote> here is 2.</explanation>",
            ("1+1=3",),
            "What stands here is 2.",
        ),
        # code within the quote is no fence
        ("<error_quote>x = `1`</error_quote>" + IDEA, ("x = `1`",), "It is 2."),
        # JSON with something after it, and with a lone surrogate
        ('{"error_quote": "1+1=3", "explanation": "two"} done}', ("1+1=3",), "two"),
        ('{"error_quote": "1+1=3", "explanation": "\\ud800"}', ("1+1=3",), "?"),
    ],
)
def test_what_real_reflectors_wrote(raw, quotes, idea):
    parsed = parse_reflection(raw, "wrong", "stop")
    assert (parsed.quotes, parsed.idea) == (quotes, idea)


def test_deep_json_and_many_spaces_are_read_at_once():
    assert parse_reflection('{"error_quote":' * 50_000, "wrong", "stop").status != "ok"
    assert parse_reflection("<" + " " * 50_000, "wrong", "stop").idea is None
    assert parse_reflection("<think>" * 10_000, "wrong", "stop").idea is None


LATEX = r"So \( x = \frac{1}{2} \) and \nu = 3 \text{ m}"


@pytest.mark.parametrize(
    ("raw", "quote", "repairs"),
    [
        # LaTeX that is not escaped: `\(` is no escape, `\f` would be a form feed, `\n` a new line
        (f'{{"error_quote": "{LATEX}", "explanation": "two"}}', LATEX, ("json",)),
        ('{"error_quote": "\\\\pi\\nso", "explanation": "two"}', "\\pi\nso", ("json",)),
        # no closing brace; another object before; an object in a list in an object
        ('{"error_quote": "1+1=3", "explanation": "two"', "1+1=3", ("json",)),
        ('{"a": 1} {"error_quote": "1+1=3", "explanation": "two"}', "1+1=3", ("json",)),
        ('{"x": [{"error_quote": "1+1=3", "explanation": "two"}]}', "1+1=3", ("json",)),
        # quote marks within a string, a string that never ends, an escaped pair of surrogates
        ('{"error_quote": "the "sum", or 3", "explanation": "two"}', 'the "sum", or 3', ("json",)),
        ('{"error_quote": "1+1=3", "explanation": "two', "1+1=3", ("json", "unclosed")),
        ('{"error_quote": "\\ud835\\udc65=3", "explanation": "two"}', "\U0001d465=3", ("json",)),
        # headings
        ("**error_quote:** 1+1=3\n\n**explanation:** two", "1+1=3", ("heading",)),
        ("### Error Quote\n1+1=3\n### Explanation\ntwo", "1+1=3", ("heading",)),
        ("1. **Error quote**: 1+1=3\n2. **Explanation**: two", "1+1=3", ("heading",)),
        ("<error_quote>1+1=3</error_quote>\n**Explanation:** two", "1+1=3", ("heading",)),
    ],
)  # fmt: skip
def test_answers_without_tags(raw, quote, repairs):
    assert parsed(raw) == ((quote,), "two", "ok", repairs)


def test_an_idea_that_is_cut_off_is_none_in_any_format():
    for raw in (
        '{"error_quote": "1+1=3", "explanation": "It is no',
        "**error_quote:** 1+1=3\n**explanation:** It is no",
    ):
        assert parsed(raw, finish="length")[:3] == (("1+1=3",), None, "truncated")


def test_words_of_the_answer_are_no_headings():
    raw = QUOTE + "\nThe explanation: none. An error quote is above."
    assert parsed(raw) == (("1+1=3",), None, "no_idea", ())


@pytest.mark.parametrize("start", ["", '"error_quote": "', "<error_quote>", "**explanation:** "])
@pytest.mark.parametrize(
    "piece",
    ["<", "{", "\\", '"', "\n", "`", "*", '"error_quote": "', '"error_quote": ["a",',
     "**error_quote:** x\n", "<explanation>", "error_quote\n", "\\u0041", '"error_quote":\n'],
)  # fmt: skip
def test_hostile_text_takes_linear_time(start, piece):
    # a quadratic pattern takes minutes for 100,000 characters; all of these take a few seconds
    found = parse_reflection(start + piece * (100_000 // len(piece)), "wrong", "stop")
    assert found.status in {"ok", "no_idea", "no_quote"}


def test_under_the_grammar_only_its_own_tags_count():
    raw = f"<error quote>made up</error quote>{QUOTE}{IDEA}"
    parsed = parse_constrained(raw, "so 1+1=3 here", "stop")
    assert (parsed.quotes, parsed.status) == (("1+1=3",), "ok")
    assert parse_constrained(raw, "nothing of it", "stop").status == "no_quote"


def test_of_very_many_quotes_the_first_are_read_and_recorded():
    raw = "".join(f"<error_quote>a{n}</error_quote>" for n in range(17)) + "<explanation>b"
    read = parse_reflection(raw, "wrong", "stop")
    assert read.quotes == tuple(f"a{n}" for n in range(16)) and "many_quotes" in read.repairs
    constrained = parse_constrained(raw, raw, "stop")
    assert constrained.quotes == read.quotes and "many_quotes" in constrained.repairs
    fewer = parse_constrained(raw, "a1 a2", "stop")
    assert fewer.quotes == ("a1", "a2") and "many_quotes" not in fewer.repairs


def test_tags_that_are_never_closed_are_read_at_once():
    # a search for the end from every tag on would take seconds: 15,000 tags x 200,000 characters
    assert parse_constrained("<error_quote>" * 15_000, "a", "stop").quotes == ()
    assert parse_constrained("<error_quote>a" * 9 + "</error_quote>", "a", "stop").quotes == ()
