"""A small HTTP server in front of our own engine, with the paths and field names of vLLM's
OpenAI-compatible one, as far as `engine: server` uses them; and the ways in which servers go wrong.

The tests in tests/engines run against vLLM's own server.
"""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import torch

from rosd_core.models.loading import load_model
from rosd_core.prompts.chat import decode, encode_chat, stop_ids
from rosd_core.sampling.draw import nucleus_logp
from rosd_core.sampling.engine import Decoding, Request
from rosd_core.sampling.transformers_engine import TransformersEngine


@dataclass
class Faults:
    """What the server does wrong."""

    raw: bool = False  # log-probabilities before temperature
    ids: bool = True  # returns token ids
    heat: float = 1.0  # factor of the temperature that was asked for
    failures: int = 0  # first requests that are answered with 503
    pause: float = 0.0  # seconds before an answer
    refuse: str | None = None  # the message of an answer 400
    names: tuple[str, ...] = ("student",)
    root: str | None = None
    context: int = 1000
    shift: int = 0  # added to the ids of /tokenize
    adapters: bool = False
    logprob: float | None = None  # of the last token of every response
    odd: bool = False  # answers that are no completion, with status 200
    asked: list[dict] = field(default_factory=list)  # bodies of the requests


class Backend:
    """The model of a folder, and what the server answers."""

    def __init__(self, folder: Path, faults: Faults) -> None:
        model, self.tokenizer = load_model(folder, "cpu")
        stops = stop_ids(model.generation_config, self.tokenizer)
        self.engine = TransformersEngine(model, stops, 0, 8192, self.tokenizer)
        self.faults, self.lock, self.loaded = faults, threading.Lock(), list[str]()

    def models(self) -> dict[str, Any]:
        f = self.faults
        whole = [{"id": n, "root": f.root, "max_model_len": f.context} for n in f.names]
        return {"data": whole + [{"id": n, "parent": f.names[0]} for n in self.loaded]}

    def sample(self, body: dict[str, Any], prompt: list[int]):
        grammar = (body.get("structured_outputs") or {}).get("grammar")
        request = Request("row", prompt, body.get("seed") or 0, grammar)
        heat = body["temperature"] * self.faults.heat
        decoding = Decoding(heat, body["top_p"], body["max_tokens"], model_logprobs=True)
        return self.engine.generate([request], decoding)[0]

    def completions(self, body: dict[str, Any]) -> dict[str, Any]:
        if "prompt_logprobs" in body:
            return {"choices": [{"prompt_logprobs": self.prompt_logprobs(body["prompt"])}]}
        done = self.sample(body, body["prompt"])
        told = done.model_logprobs if self.faults.raw else done.logprobs
        if self.faults.logprob is not None:
            told = [*told[:-1], self.faults.logprob]
        choice = {"finish_reason": done.finish_reason, "logprobs": {"token_logprobs": told}}
        if self.faults.ids:
            choice["token_ids"] = done.token_ids
        return {"choices": [choice]}

    def prompt_logprobs(self, ids: list[int]) -> list[Any]:
        with torch.inference_mode():
            logits = self.engine.model(torch.tensor([ids])).logits[0, :-1]
        logp = nucleus_logp(logits, torch.tensor(ids[1:]), 1.0, 1.0).tolist()
        found = zip(ids[1:], logp, strict=True)
        return [None, *({str(token): {"logprob": value}} for token, value in found)]

    def chat(self, body: dict[str, Any]) -> dict[str, Any]:
        messages, start = body["messages"], ""
        if body.get("continue_final_message"):
            messages, start = messages[:-1], messages[-1]["content"]
        ids = encode_chat(self.tokenizer, messages)
        ids += self.tokenizer(start, add_special_tokens=False)["input_ids"]
        done = self.sample(body, ids)
        text = decode(self.tokenizer, done.token_ids)
        choice = {"message": {"content": text}, "finish_reason": done.finish_reason}
        return {"choices": [choice], "usage": {"completion_tokens": len(done.token_ids)}}

    def answer(self, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        f = self.faults
        f.asked.append(body)
        if path in ("/v1/completions", "/v1/chat/completions"):
            time.sleep(f.pause)
            if f.failures:
                f.failures -= 1
                return 503, {"error": {"message": "busy"}}
            if f.refuse:
                return 400, {"error": {"message": f.refuse}}
            if f.odd:
                return 200, {"object": "error", "message": "out of memory"}
            if len(body.get("prompt", ())) + body["max_tokens"] > f.context:
                return 400, {"error": {"message": "longer than the maximum context length"}}
            return 200, self.chat(body) if "messages" in body else self.completions(body)
        if path == "/tokenize":
            ids = self.tokenizer(body["prompt"], add_special_tokens=False)["input_ids"]
            return 200, {"tokens": [token + f.shift for token in ids]}
        if path == "/v1/load_lora_adapter" and f.adapters:
            if body["lora_name"] in self.loaded:
                return 400, {"error": {"message": "the lora adapter has already been loaded"}}
            self.loaded.append(body["lora_name"])
            return 200, "Success"
        return 404, {"detail": "Not Found"}


@contextmanager
def serving(folder: Path, faults: Faults | None = None) -> Iterator[str]:
    """The server's address, while it runs."""
    backend = Backend(folder, faults or Faults())

    class Handler(BaseHTTPRequestHandler):
        def reply(self, status: int, found: Any) -> None:
            text = json.dumps(found).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def do_GET(self) -> None:
            self.reply(200, backend.models())

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with backend.lock:
                status, found = backend.answer(self.path, body)
            self.reply(status, found)

        def log_message(self, format: str, *args: Any) -> None:
            pass

        def handle(self) -> None:
            with suppress(BrokenPipeError, ConnectionResetError):  # the client gave up
                super().handle()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
