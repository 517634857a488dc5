"""A reflector behind a chat API: any OpenAI-compatible server, any tokenizer. Messages go there,
text comes back.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from rosd_core.errors import RosdError
from rosd_core.reflect.reflector import Answer, Question
from rosd_core.sampling.engine import Decoding, EngineSettings
from rosd_core.sampling.requests import signed_seed
from rosd_core.sampling.server_client import Client
from rosd_core.tables.progress import Report


@dataclass(frozen=True)
class ChatReflector:
    """The model of this name on a server. Prefills and grammars are extensions of vLLM's API."""

    client: Client
    model: str
    report: Report

    def answer(self, questions: Sequence[Question], decoding: Decoding) -> list[Answer]:
        """The answers, in the order of the questions."""
        done: list[Answer] = []
        bodies = [self.body(question, decoding) for question in questions]
        for answer in self.client.post_all("/v1/chat/completions", bodies):
            choice = self.client.choice(answer)
            tokens = int((answer.get("usage") or {}).get("completion_tokens") or 0)
            reason = "length" if choice.get("finish_reason") == "length" else "stop"
            text = (choice.get("message") or {}).get("content") or ""
            done.append(Answer(text, tokens, reason))
            self.report(len(done), len(questions), tokens)
        return done

    def body(self, question: Question, decoding: Decoding) -> dict[str, Any]:
        """The HTTP request of a question."""
        messages = [dict(message) for message in question.prompt.messages]
        body: dict[str, Any] = {
            "model": self.model,
            "messages": messages,
            "max_tokens": decoding.max_new_tokens,
            "temperature": decoding.temperature,
            "top_p": decoding.top_p,
        }
        if decoding.temperature:
            body["seed"] = signed_seed(question.seed)
        if question.prefill:
            messages.append({"role": "assistant", "content": question.prefill})
            body |= {"add_generation_prompt": False, "continue_final_message": True}
        if question.grammar:
            body["structured_outputs"] = {"grammar": question.grammar}
        return body


def open_chat(
    settings: EngineSettings, model: str, url: str | None, report: Report
) -> ChatReflector:
    """The reflector of this name at `url` (None: the engine's own server). Raises RosdError where
    the server is down or has no such model.
    """
    assert settings.server is not None
    client = Client(replace(settings.server, url=url or settings.server.url))
    names = [served["id"] for served in client.models()]
    if model not in names:
        raise RosdError(
            f"reflect.model: {client.url} serves no model {model!r}; it has: {', '.join(names)}."
        )
    return ChatReflector(client, model, report)
