"""Templates are checked when params are read."""

import pytest

from rosd_core.config.load import load_params
from rosd_core.config.prompts import FIELDS
from rosd_core.errors import RosdError
from rosd_core.prompts.templates import Prompts
from tests.support import PROMPTS, write_params


@pytest.mark.parametrize(
    ("name", "template", "message"),
    [
        (
            "reflect_wrong",
            "{{ wrongg }}",
            "unknown field 'wrongg'; there are: problem, gold",
        ),
        (
            "reflect_wrong",
            "{{ wrong ",
            "reflect_wrong: not a valid jinja2 template: line 1",
        ),
        ("plain", "{% if %}", "prompts.plain: not a valid jinja2 template: line 1"),
        ("plain", "", r"prompts.plain: the field \{\{ problem \}\} is missing"),
        ("plain", "{{ problem | shout }}", "No filter named 'shout'"),
        ("plain", "{{ problem.x.y }}", "cannot be filled in: 'str object' has no attribute 'x'"),
        ("plain", "{{ problem.__class__ }}", "access to attribute '__class__'"),
        ("plain", "{{ problem }}{% for i in range(10**9) %}{% endfor %}", "Range too big"),
        ("with_idea", "{{ problem }}", r"prompts.with_idea: the field \{\{ idea \}\} is missing"),
    ],
)
def test_a_template_with_wrong_fields_is_named(tmp_path, name, template, message):
    file = write_params(tmp_path, {"prompts": {name: template}})
    with pytest.raises(RosdError, match=message):
        load_params(file)


@pytest.mark.parametrize("name", FIELDS)
def test_the_fields_are_those_of_the_method_of_that_name(name):
    template = " ".join(f"{{{{ {field} }}}}" for field in FIELDS[name])
    (message,) = getattr(Prompts({name: template}), name)(**{f: f.upper() for f in FIELDS[name]})
    assert message["content"] == " ".join(field.upper() for field in FIELDS[name])
    assert name in PROMPTS.templates


def test_examples_are_earlier_turns_of_the_student_and_of_the_teacher(tmp_path):
    example = {"problem": "1+1?", "response": "2"}
    changes = {"plain": "Q {{ problem }}", "with_idea": "{{ problem }} ({{ idea }})"}
    examples = {"plain": [example], "reflect_wrong": [], "reflect_correct": []}
    file = write_params(tmp_path, {"prompts": changes | {"examples": examples}})
    texts = load_params(file).prompts
    prompts = Prompts(texts.only("plain", "with_idea"), examples=texts.examples_for("plain"))
    turns = [{"role": "user", "content": "Q 1+1?"}, {"role": "assistant", "content": "2"}]
    assert prompts.plain("2+2?") == [*turns, {"role": "user", "content": "Q 2+2?"}]
    system = {"role": "system", "content": "Be brief."}
    own = {"role": "user", "content": "2+2? (count)"}
    assert prompts.with_idea("2+2?", "count", "Be brief.") == [system, *turns, own]
    assert texts.examples_for("reflect_wrong") == {"reflect_wrong": []}


def test_an_example_that_lacks_a_field_is_named(tmp_path):
    whole = {"problem": "p", "gold": "g", "correct": "c", "wrong": "w", "response": "r"}
    examples = {"plain": [], "reflect_correct": [], "reflect_wrong": [whole, {"problem": "p"}]}
    file = write_params(tmp_path, {"prompts": {"examples": examples}})
    with pytest.raises(RosdError, match=r"examples.reflect_wrong: example 2 has no correct"):
        load_params(file)
