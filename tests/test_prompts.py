import pytest
from jinja2 import UndefinedError

from rosd_core.params import load_params
from rosd_core.prompts import Prompts
from stages.common import prompts_of
from tests.conftest import ROOT

PROMPTS = prompts_of(load_params(ROOT / "params.yaml").prompts)


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
    prompts = Prompts("{{ problem }}", "{{ nothing }}", "", "", "")
    assert prompts.plain("{{ 1 + 1 }} $x_{2}$")[0]["content"] == "{{ 1 + 1 }} $x_{2}$"
    with pytest.raises(UndefinedError):
        prompts.reflect_wrong("a", "b", "c", "d")
