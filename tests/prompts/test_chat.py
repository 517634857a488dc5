"""Chat templates as they are in the wild: what they refuse, ignore and leave out."""

import pytest
from transformers import AutoTokenizer

from rosd_core.errors import RosdError
from rosd_core.prompts.chat import chat_text, check_template
from rosd_core.tables.row_types import Message
from tests.support import ROOT

USER: Message = {"role": "user", "content": "1+1?"}
SYSTEM: Message = {"role": "system", "content": "Be brief."}

# each in the words of its family, cut to one turn
GEMMA = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}"
    "{% endif %}{% for m in messages %}<start_of_turn>{{ m['role'] }}\n{{ m['content'] }}"
    "<end_of_turn>\n{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
QWEN3 = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n"
    "{% endif %}{% endif %}"
)
NO_HEADER = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
USER_ONLY = (
    "{% for m in messages %}{% if m['role'] == 'user' %}[INST] {{ m['content'] }} [/INST]"
    "{% endif %}{% endfor %}{% if add_generation_prompt %} {% endif %}"
)


def with_template(template):
    tokenizer = AutoTokenizer.from_pretrained(ROOT / "models" / "base")
    tokenizer.chat_template = template
    return tokenizer


def test_thinking_is_switched_by_the_template():
    tokenizer = with_template(QWEN3)
    assert check_template(tokenizer) == []
    head = "<|im_start|>user\n1+1?<|im_end|>\n<|im_start|>assistant\n"
    assert chat_text(tokenizer, [USER], thinking=True) == head
    assert chat_text(tokenizer, [USER], thinking=False) == head + "<think>\n\n</think>\n\n"


def test_a_template_that_refuses_a_system_message_serves_without_one():
    tokenizer = with_template(GEMMA)
    system, thinking = check_template(tokenizer)
    assert "no system message" in system
    assert "no enable_thinking" in thinking
    assert chat_text(tokenizer, [USER]).endswith("<start_of_turn>model\n")
    with pytest.raises(RosdError, match=r'roles system, user: System role not .*`system: ""`'):
        chat_text(tokenizer, [SYSTEM, USER])


def test_a_template_that_drops_a_system_message_is_named():
    assert "no system message" in check_template(with_template(USER_ONLY))[0]


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (NO_HEADER, r"base: the chat template ignores add_generation_prompt"),
        ("{{ raise_exception('no chat') }}", r"base: .*roles user: no chat; edit chat_template"),
    ],
)
def test_a_template_that_no_prompt_can_be_made_with_is_refused(template, message):
    with pytest.raises(RosdError, match=message):
        check_template(with_template(template))
