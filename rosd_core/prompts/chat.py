"""Chat messages to token ids, and sampled ids to text. Needs no model and no engine."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from jinja2 import TemplateError

from rosd_core.errors import RosdError
from rosd_core.tables.row_types import Message

if TYPE_CHECKING:
    from transformers import GenerationConfig, PreTrainedTokenizerBase


def pad_id(tokenizer: "PreTrainedTokenizerBase") -> int:
    """The id that fills batches: the pad token, else the end token; no result depends on it."""
    return next(i for i in (tokenizer.pad_token_id, tokenizer.eos_token_id) if isinstance(i, int))


def stop_ids(
    generation: "GenerationConfig | None", tokenizer: "PreTrainedTokenizerBase"
) -> list[int]:
    """Every id that ends a response: the tokenizer's and the generation config's."""
    configured = generation.eos_token_id if generation else None
    ids = configured if isinstance(configured, list) else [configured]
    return sorted({i for i in (*ids, tokenizer.eos_token_id) if isinstance(i, int)})


def decode(tokenizer: "PreTrainedTokenizerBase", ids: Sequence[int]) -> str:
    """The text of sampled ids without special tokens, exactly as the decoder writes it. Cleaned-up
    text could not be mapped back to tokens.
    """
    return str(
        tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
    )


def encode_chat(
    tokenizer: "PreTrainedTokenizerBase", messages: Sequence[Message], thinking: bool = False
) -> list[int]:
    """Chat messages as prompt ids that end where the assistant begins."""
    return tokenizer(chat_text(tokenizer, messages, thinking), add_special_tokens=False)[
        "input_ids"
    ]


def chat_text(
    tokenizer: "PreTrainedTokenizerBase", messages: Sequence[Message], thinking: bool = False
) -> str:
    """Chat messages as text that ends where the assistant begins. `thinking` is what templates of
    reasoning models call `enable_thinking`; other templates ignore it. Raises RosdError where the
    template refuses the messages.
    """
    try:
        return _render(tokenizer, messages, thinking, header=True)
    except Exception as error:  # a template is code of the model's: it may raise anything
        roles = ", ".join(m["role"] for m in messages)
        hint = (
            '; `system: ""` of a domain in prepare.domains leaves the system message out'
            if messages[0]["role"] == "system"
            else "; edit chat_template.jinja there"
        )
        raise RosdError(
            f"{tokenizer.name_or_path}: the chat template refuses messages of the roles {roles}: "
            f"{error}{hint}."
        ) from None


def _render(
    tokenizer: "PreTrainedTokenizerBase", messages: Sequence[Message], thinking: bool, header: bool
) -> str:
    """Messages as text, with or without the assistant's header behind them."""
    return str(
        tokenizer.apply_chat_template(
            [{"role": m["role"], "content": m["content"]} for m in messages],
            tokenize=False,
            add_generation_prompt=header,
            enable_thinking=thinking,
        )
    )


def check_template(tokenizer: "PreTrainedTokenizerBase") -> list[str]:
    """What the chat template lacks: a system message, the switch for thinking.

    Raises RosdError for a template that no prompt can be made with: it refuses a user message, or
    it writes no header of the assistant, so that the model would go on with the user's text.
    """
    user: Message = {"role": "user", "content": "Why?"}
    system: Message = {"role": "system", "content": "Answer briefly."}
    text = chat_text(tokenizer, [user])
    if text == _render(tokenizer, [user], False, header=False):
        raise RosdError(
            f"{tokenizer.name_or_path}: the chat template ignores add_generation_prompt, so no "
            "prompt would end where the assistant begins; edit chat_template.jinja there."
        )
    lacks = []
    try:
        kept = system["content"] in _render(tokenizer, [system, user], False, header=True)
    except TemplateError:
        kept = False
    if not kept:
        lacks.append('no system message: domains that have one need `system: ""`')
    if text == chat_text(tokenizer, [user], thinking=True):
        lacks.append("no enable_thinking: prompts.thinking changes nothing")
    return lacks
