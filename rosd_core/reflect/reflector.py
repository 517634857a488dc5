"""Reflectors: who answers the reflection prompts. Only text crosses, so that a reflector may be
another model than the student, with another tokenizer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from rosd_core.prompts.chat import decode
from rosd_core.prompts.fit import FittedPrompt
from rosd_core.sampling.engine import Decoding, Engine, Request

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Question:
    """A reflection prompt; the answer starts with `prefill`, and `grammar` restricts the rest."""

    row_id: str
    prompt: FittedPrompt
    prefill: str
    seed: int
    grammar: str | None


@dataclass(frozen=True)
class Answer:
    """What was written after the prefill, in how many tokens, and why it ended (stop | length)."""

    text: str
    tokens: int
    finish_reason: str


class Reflector(Protocol):
    """What the stage uses of a reflector. `model` says which one it is, in the table."""

    @property
    def model(self) -> str: ...

    def answer(self, questions: Sequence[Question], decoding: Decoding) -> list[Answer]: ...


@dataclass(frozen=True)
class EngineReflector:
    """A model behind an engine: prompts as ids of its own tokenizer."""

    engine: Engine
    tokenizer: "PreTrainedTokenizerBase"
    model: str

    def answer(self, questions: Sequence[Question], decoding: Decoding) -> list[Answer]:
        """The answers, in the order of the questions."""
        requests = [
            Request(q.row_id, [*q.prompt.ids, *self._encode(q.prefill)], q.seed, q.grammar)
            for q in questions
        ]
        return [
            Answer(decode(self.tokenizer, done.token_ids), len(done.token_ids), done.finish_reason)
            for done in self.engine.generate(requests, decoding)
        ]

    def _encode(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]
