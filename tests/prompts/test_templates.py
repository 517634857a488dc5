import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import UndefinedError
from jinja2.exceptions import SecurityError

from rosd_core.errors import RosdError
from rosd_core.prompts.fit import fit
from rosd_core.prompts.templates import Prompts
from tests.support import PROMPTS


def test_the_self_teacher_reads_problem_and_idea_never_a_solution():
    (message,) = PROMPTS.with_idea("PROBLEM", "IDEA")
    assert message == {"role": "user", "content": "PROBLEM\nHint: IDEA"}


def test_the_reflector_reads_everything():
    (message,) = PROMPTS.reflect_wrong("PROBLEM", "GOLD", "CORRECT", "WRONG")
    assert all(w in message["content"] for w in ("PROBLEM", "GOLD", "CORRECT", "WRONG"))


def test_a_system_message_comes_first():
    messages = PROMPTS.plain("PROBLEM", "SYSTEM")
    assert [m["role"] for m in messages] == ["system", "user"]


def test_text_with_braces_is_put_in_as_it_is_and_unknown_fields_are_refused():
    prompts = Prompts({"plain": "{{ problem }}", "reflect_wrong": "{{ nothing }}"})
    assert prompts.plain("{{ 1 + 1 }} $x_{2}$")[0]["content"] == "{{ 1 + 1 }} $x_{2}$"
    with pytest.raises(UndefinedError):
        prompts.reflect_wrong("a", "b", "c", "d")


@pytest.mark.parametrize(
    "template",
    [
        "{{ problem.__class__.__mro__ }}",
        "{{ ''.__class__.__base__.__subclasses__() }}",
        "{{ problem.format.__globals__ }}",
        "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
    ],
)
def test_a_template_reaches_nothing_but_its_fields(template):
    with pytest.raises((SecurityError, UndefinedError)):
        Prompts({"plain": template}).plain("text")


def words(messages):
    """One token per word, and two for the header of each message."""
    return [0 for m in messages for _ in ("<", ">", *m["content"].split())]


def test_the_longest_part_loses_its_middle_and_the_instructions_stay():
    text = "Solve {{ problem }} see {{ correct }} {{ gold }} {{ wrong }} Quote it."
    prompts = Prompts({"reflect_wrong": text})
    parts = {"problem": "p", "gold": "g", "wrong": "w " * 5}
    right = " ".join(f"c{n}" for n in range(100))
    prompt = fit(prompts.reflect_wrong, words, 40, "p/1", "Be brief.", **parts, correct=right)
    assert len(prompt.ids) <= 40
    system, user = prompt.messages
    assert system["content"] == "Be brief."
    text = user["content"]
    assert text.startswith("Solve p see c0 c1 ")
    assert " [...] " in text
    assert text.endswith("c99 g w w w w w  Quote it.")
    left_out = json.loads(prompt.shortened or "{}")
    assert list(left_out) == ["correct"]
    kept = text.removeprefix("Solve p see ").removesuffix(" g w w w w w  Quote it.")
    assert len(right) - left_out["correct"] == len(kept) - len(" [...] ")


def test_a_prompt_that_fits_is_left_alone_and_one_that_cannot_is_refused():
    prompt = fit(PROMPTS.plain, words, 4, "p", problem="two words")
    assert (prompt.messages, prompt.shortened) == (PROMPTS.plain("two words"), None)
    prompts = Prompts({"plain": "one two three four {{ problem }}"})
    with pytest.raises(RosdError, match=r"p/1: .*max_prompt_tokens is 5"):
        fit(prompts.plain, words, 5, "p/1", problem="some words that do not matter")


@given(st.integers(12, 60), st.text(max_size=300), st.text(max_size=300))
def test_what_is_shortened_always_fits(longest, problem, idea):
    def letters(messages):
        return list(messages[0]["content"])

    prompt = fit(PROMPTS.with_idea, letters, longest + 20, "p", problem=problem, idea=idea)
    assert len(prompt.ids) <= longest + 20
    assert "\nHint: " in prompt.messages[0]["content"]
