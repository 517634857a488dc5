"""A server that is running already: ids in, ids and log-probabilities out, over HTTP.

Any OpenAI-compatible server will do whose /v1/completions takes the prompt as token ids and returns
`token_ids` and `token_logprobs`, as vLLM's does. A student that is an adapter is loaded into it by
name. Before the first row the server is checked: its model's name, context and tokenizer, and the
log-probabilities of a few tokens against those of the model in the folder.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rosd_core.errors import RosdError
from rosd_core.models.loading import is_adapter, load_generation_config, load_tokenizer
from rosd_core.prompts.chat import stop_ids
from rosd_core.sampling.engine import Completion, Decoding, EngineSettings, Request
from rosd_core.sampling.requests import (
    refuse_bad_logprobs,
    refuse_overlong,
    signed_seed,
    with_model_logprobs,
)
from rosd_core.sampling.server_client import Client
from rosd_core.tables.hashing import fingerprint
from rosd_core.tables.progress import Report, silent

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

COMPLETIONS = "/v1/completions"
# what a model's generation config would otherwise add to a request
NEUTRAL = {
    "top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0, "frequency_penalty": 0.0,
    "presence_penalty": 0.0,
}  # fmt: skip
ADAPTERS = (
    "it has to be started with LoRA and VLLM_ALLOW_RUNTIME_LORA_UPDATING=True, as `rosd serve` does"
)


class ServerEngine:
    """`model` is the student's name on the server; `raw` says that the server reports
    log-probabilities before temperature and top_p.
    """

    def __init__(
        self,
        client: Client,
        model: str,
        stop_ids: Sequence[int],
        context: int,
        adapter: bool,
    ) -> None:
        self.client, self.model, self.stops = client, model, list(stop_ids)
        self.context_length, self.adapter = context, adapter
        self.raw = False
        self.report: Report = silent

    def generate(self, requests: Sequence[Request], decoding: Decoding) -> list[Completion]:
        """Sample a continuation of each request, in the order of the requests.

        Raises RosdError for a prompt that leaves no room for `max_new_tokens`, and where the server
        fails or cannot say what is asked of it.
        """
        second = decoding.model_logprobs and not decoding.plain
        room = decoding.max_new_tokens + second  # reading a response samples a token behind it
        refuse_overlong(requests, room, self.context_length)
        if second:
            self._refuse_what_it_cannot_say()
        done: list[Completion] = []
        bodies = [self.body(request, decoding) for request in requests]
        for answer in self.client.post_all(COMPLETIONS, bodies):
            done.append(self._completion(answer))
            self.report(len(done), len(requests), len(done[-1].token_ids))
        if decoding.model_logprobs:
            own = self._read(requests, done) if second else [c.logprobs for c in done]
            done = with_model_logprobs(done, own)
        refuse_bad_logprobs(self.client.url, requests, done)
        return done

    def _refuse_what_it_cannot_say(self) -> None:
        """Rollouts away from temperature 1 need both log-probabilities."""
        if self.raw:
            raise RosdError(
                f"{self.client.url}: the server reports log-probabilities before temperature and "
                "top_p, so they are not the behaviour's. Start it with `--logprobs-mode "
                "processed_logprobs`, or set rollout.temperature 1 and rollout.top_p 1."
            )
        if self.adapter:
            raise RosdError(
                f"{self.client.url}: the server gives no student_logp for an adapter: set "
                "rollout.temperature 1 and rollout.top_p 1, or distill.lora.merge true."
            )

    def body(self, request: Request, decoding: Decoding) -> dict[str, Any]:
        """The HTTP request of a row."""
        body: dict[str, Any] = {
            "model": self.model,
            "prompt": list(request.prompt_ids),
            "max_tokens": decoding.max_new_tokens,
            "temperature": decoding.temperature,
            "top_p": decoding.top_p if decoding.temperature else 1.0,
            "logprobs": 0,
            "return_token_ids": True,
            "stop_token_ids": self.stops,
            **NEUTRAL,
        }
        if decoding.temperature:
            body["seed"] = signed_seed(request.seed)
        if request.grammar:
            body["structured_outputs"] = {"grammar": request.grammar}
        return body

    def _completion(self, answer: Any) -> Completion:
        """What was sampled. Raises RosdError where the server leaves out ids or log-probs."""
        choice = self.client.choice(answer)
        ids = choice.get("token_ids")
        logprobs = (choice.get("logprobs") or {}).get("token_logprobs")
        if not ids or not logprobs or len(ids) != len(logprobs):
            what = "token ids" if not ids else "log-probabilities"
            raise RosdError(
                f"{self.client.url}: the server gives no {what} of what it samples. This engine "
                "needs a server that does, such as vLLM's."
            )
        return Completion(ids, logprobs, "stop" if ids[-1] in self.stops else "length")

    def _read(self, requests: Sequence[Request], done: Sequence[Completion]) -> list[list[float]]:
        """Log-probabilities at temperature 1, over all ids, of responses to their prompts."""
        bodies = [
            {
                "model": self.model,
                "prompt": [*request.prompt_ids, *completion.token_ids],
                "max_tokens": 1,
                "temperature": 0.0,
                "prompt_logprobs": 0,
            }
            for request, completion in zip(requests, done, strict=True)
        ]
        own = []
        answers = self.client.post_all(COMPLETIONS, bodies)
        for request, completion, answer in zip(requests, done, answers, strict=True):
            told = self.client.choice(answer).get("prompt_logprobs")
            if not told:
                raise RosdError(f"{self.client.url}: the server gives no prompt_logprobs.")
            ids, read = completion.token_ids, told[len(request.prompt_ids) :]
            own.append([at[str(token)]["logprob"] for at, token in zip(read, ids, strict=True)])
        return own


def open_model(
    settings: EngineSettings, folder: Path, report: Report
) -> "tuple[ServerEngine, PreTrainedTokenizerBase]":
    """The engine on a server, and the tokenizer of the student in `folder`. Raises RosdError where
    the server is down, or serves something else.
    """
    from rosd_core.sampling.server_checks import check_model, check_tokenizer, refuse_other_folder

    assert settings.server is not None
    tokenizer, client = load_tokenizer(folder), Client(settings.server)
    served, adapter = client.models(), is_adapter(folder)
    whole = [model for model in served if not model.get("parent")]  # adapters have one
    if adapter:
        name = load_adapter(client, folder, [model["id"] for model in served])
        entry = next(iter(whole), {})  # its base says how long the context is
    else:
        name = served_name(client, settings.server.model, [model["id"] for model in whole])
        entry = next(model for model in whole if model["id"] == name)
    context = int(entry.get("max_model_len") or settings.longest + 1)
    if context < settings.longest:
        raise RosdError(
            f"{client.url}: {name} has a context of {context} tokens there; max_prompt_tokens, "
            f"reflect.prefill and max_new_tokens add up to {settings.longest}. "
            "Start the server with a longer one."
        )
    stops = stop_ids(load_generation_config(folder), tokenizer)
    engine = ServerEngine(client, name, stops, context, adapter)
    check_tokenizer(client, name, tokenizer)
    if not adapter:
        refuse_other_folder(client, entry, folder)
    if settings.server.check_bound is not None:
        check_model(engine, folder, tokenizer, settings.server.check_bound)
    engine.report = report
    return engine, tokenizer


def served_name(client: Client, wanted: str | None, names: Sequence[str]) -> str:
    """The name of the student's model on the server."""
    if wanted is None and len(names) == 1:
        return names[0]
    if wanted is None:
        raise RosdError(
            f"{client.url} serves {len(names)} models: {', '.join(names)}. Set engine.server.model."
        )
    if wanted not in names:
        raise RosdError(f"{client.url} serves no model {wanted!r}; it has: {', '.join(names)}.")
    return wanted


def load_adapter(client: Client, folder: Path, names: Sequence[str]) -> str:
    """The name of the adapter in `folder` on the server, which reads it where it does not know it
    yet. The name holds its fingerprint, so that an adapter that is trained again is another one.
    """
    name = f"{folder.name}-{fingerprint(folder)[:8]}"
    if name not in names:
        body = {"lora_name": name, "lora_path": str(folder.resolve())}
        try:
            client.post("/v1/load_lora_adapter", body)
        except RosdError as error:
            # another worker, or a request that was sent again, may have been first
            if name not in [model["id"] for model in client.models()]:
                raise RosdError(f"{error}. To load adapters {ADAPTERS}.") from None
    return name
