"""Engines: token ids in, token ids and log-probabilities out.

An engine has two verbs. `generate` samples a continuation for each request; `logprobs` scores given
continuations. Both take rows that are independent of each other: what a row gives does not depend
on the order or the number of rows beside it, because each row brings its own seed. Any engine (CPU
loop, vLLM, Ray workers) fits behind this interface.

Dimension names: B row, U unique prompt, T token, N scored token, K support, V vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerBase
from transformers.cache_utils import Cache, DynamicLayer

from rosd_core.errors import RosdError
from rosd_core.loading import load_model
from rosd_core.reader import Part, Reader, context_of
from rosd_core.types import Scored, TokenLogprobs

if TYPE_CHECKING:
    from rosd_core.grammar import TokenMasks


@dataclass(frozen=True)
class Request:
    """One row to generate. `grammar` (llguidance's Lark) restricts the continuation; the
    log-probabilities are then those of the restricted distribution.
    """

    row_id: str
    prompt_ids: Sequence[int]
    seed: int
    grammar: str | None = None


@dataclass(frozen=True)
class Decoding:
    """How to sample; temperature 0 is greedy."""

    temperature: float
    top_p: float
    max_new_tokens: int


@dataclass(frozen=True)
class Completion:
    """The sampled ids (end token included), their log-probabilities under the sampling
    distribution, and why it ended.

    Greedy decoding reports the log-probability at temperature 1.
    """

    token_ids: list[int]
    logprobs: list[float]
    finish_reason: str


class Engine(Protocol):
    """What a stage needs of an engine."""

    context: int

    def generate(self, requests: Sequence[Request], decoding: Decoding) -> list[Completion]: ...

    def logprobs(self, rows: Sequence[Scored], top_k: int) -> list[TokenLogprobs]: ...


def uniform(seeds: np.ndarray, step: int) -> np.ndarray:
    """One number in [0, 1) per row, a function of (seed, step): SplitMix64 of seed + (step + 1) x
    golden gamma.

    Shape: seeds (B,) uint64 -> (B,) float64. Source: Steele, Lea, Flood 2014,
    https://doi.org/10.1145/2660193.2660195
    """
    with np.errstate(over="ignore"):
        z = seeds + np.uint64(step + 1) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(11)).astype(np.float64) * 2.0**-53


def sampling_logp(logits_BV: torch.Tensor, temperature: float, top_p: float) -> torch.Tensor:
    """Log-probabilities of the distribution that is sampled from, (B, V): temperature, then
    nucleus, renormalised.

    The nucleus is the smallest set of most likely ids whose probability reaches top_p (Holtzman et
    al. 2020).
    """
    logp_BV = torch.log_softmax(logits_BV.float() / temperature, dim=-1)
    if top_p >= 1.0:
        return logp_BV
    sorted_BV, order_BV = logp_BV.sort(dim=-1, descending=True, stable=True)
    before_BV = sorted_BV.exp().cumsum(-1) - sorted_BV.exp()
    outside_BV = torch.zeros_like(before_BV, dtype=torch.bool).scatter(
        1, order_BV, before_BV >= top_p
    )
    return torch.log_softmax(logp_BV.masked_fill(outside_BV, -torch.inf), dim=-1)


def draw(logp_BV: torch.Tensor, uniforms_B: torch.Tensor) -> torch.Tensor:
    """Inverse-CDF sampling: the first id whose cumulative probability exceeds the row's uniform
    number, (B,).
    """
    cumulative_BV = logp_BV.double().exp().cumsum(-1)
    scaled_B1 = (uniforms_B.to(cumulative_BV) * cumulative_BV[:, -1]).unsqueeze(1)
    return (
        torch.searchsorted(cumulative_BV, scaled_B1, right=True)
        .squeeze(1)
        .clamp(max=logp_BV.shape[1] - 1)
    )


class _StaticLayer(DynamicLayer):
    """Keys and values in a buffer of fixed capacity: a step writes one slot in place where
    DynamicLayer copies all.
    """

    def __init__(self, capacity: int) -> None:
        super().__init__()
        self.capacity, self.length = capacity, 0

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        rows, heads, _, width = key_states.shape
        self.dtype, self.device = key_states.dtype, key_states.device
        self.keys = key_states.new_zeros(rows, heads, self.capacity, width)
        self.values = value_states.new_zeros(rows, heads, self.capacity, value_states.shape[-1])
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: object, **kwargs: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        assert self.keys is not None and self.values is not None
        end = self.length + key_states.shape[-2]
        self.keys[:, :, self.length : end] = key_states
        self.values[:, :, self.length : end] = value_states
        self.length = end
        return self.keys[:, :, :end], self.values[:, :, :end]

    def get_seq_length(self) -> int:
        return self.length

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.length + query_length, 0


def _new_cache(model: PreTrainedModel, capacity: int) -> Cache:
    """Static slots where every layer attends to everything; otherwise the model's own dynamic
    cache.
    """
    cache = DynamicCache(config=model.config)
    if cache.layers and all(type(layer) is DynamicLayer for layer in cache.layers):
        return Cache(layers=[_StaticLayer(capacity) for _ in cache.layers])
    return cache


class TransformersEngine:
    """The CPU engine: one prefill per distinct prompt, a static cache, SDPA and inverse-CDF
    sampling.

    `batch_rows` bounds the rows decoded together, `batch_tokens` the tokens scored together.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        stop_ids: Sequence[int],
        pad_id: int,
        batch_rows: int,
        tokenizer: PreTrainedTokenizerBase | None = None,
        batch_tokens: int = 1 << 14,
    ) -> None:
        self.model, self.pad_id, self.batch_rows = model.eval(), pad_id, batch_rows
        self.batch_tokens = batch_tokens
        self.tokenizer, self.masks = tokenizer, None
        self.stop_ids = torch.tensor(sorted(stop_ids), device=model.device)
        self.context = context_of(model)

    @torch.inference_mode()
    def generate(self, requests: Sequence[Request], decoding: Decoding) -> list[Completion]:
        """Sample a continuation of each request, in the order of the requests.

        Raises RosdError for a prompt that leaves no room for `max_new_tokens` in the model's
        context.
        """
        for request in requests:
            need = len(request.prompt_ids) + decoding.max_new_tokens
            if need > self.context:
                raise RosdError(
                    f"row {request.row_id}: a prompt of {len(request.prompt_ids)} tokens and "
                    f"{decoding.max_new_tokens} new ones need {need} positions; the model has "
                    f"{self.context}. Shorten the prompt or max_new_tokens."
                )
            if not request.prompt_ids:
                raise RosdError(f"row {request.row_id}: the prompt has no token.")
        order = sorted(range(len(requests)), key=lambda i: len(requests[i].prompt_ids))
        done: dict[int, Completion] = {}
        for start in range(0, len(order), self.batch_rows):
            rows = order[start : start + self.batch_rows]
            for i, completion in zip(
                rows, self._decode([requests[i] for i in rows], decoding), strict=True
            ):
                done[i] = completion
        return [done[i] for i in range(len(requests))]

    def _token_masks(self, vocabulary: int) -> "TokenMasks":
        from rosd_core.grammar import TokenMasks  # llguidance: where a grammar is asked for

        backend = getattr(self.tokenizer, "backend_tokenizer", None)
        if backend is None:
            raise RosdError("grammars need a fast tokenizer (tokenizer.json) in the model folder.")
        return TokenMasks(backend.to_str(), vocabulary, self.stop_ids.tolist())

    def _prefill(
        self, requests: Sequence[Request], max_new: int
    ) -> tuple[Cache, torch.Tensor, torch.Tensor]:
        """Run each distinct prompt once; returns the cache, the last logits and the mask, expanded
        to the rows.
        """
        prompts = list(dict.fromkeys(tuple(r.prompt_ids) for r in requests))
        where = {prompt: u for u, prompt in enumerate(prompts)}
        longest = max(map(len, prompts))
        ids_UT = torch.full((len(prompts), longest), self.pad_id)
        mask_UT = torch.zeros(len(prompts), longest, dtype=torch.long)
        for u, prompt in enumerate(
            prompts
        ):  # left padding: every row writes its next token into the same slot
            ids_UT[u, longest - len(prompt) :] = torch.tensor(prompt)
            mask_UT[u, longest - len(prompt) :] = 1
        ids_UT, mask_UT = ids_UT.to(self.model.device), mask_UT.to(self.model.device)
        cache = _new_cache(self.model, longest + max_new)
        out = self.model(
            input_ids=ids_UT,
            attention_mask=mask_UT,
            position_ids=(mask_UT.cumsum(-1) - 1).clamp(min=0),
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        rows = torch.tensor(
            [where[tuple(r.prompt_ids)] for r in requests], device=self.model.device
        )
        cache.batch_select_indices(rows)
        return cache, out.logits[:, -1][rows], mask_UT[rows]

    def _decode(self, requests: Sequence[Request], decoding: Decoding) -> list[Completion]:
        """Decode one batch; rows that are finished leave the batch once a quarter of it is."""
        seeds = np.array([r.seed for r in requests], dtype=np.uint64)
        cache, logits_BV, mask_BT = self._prefill(requests, decoding.max_new_tokens)
        if self.masks is None and any(r.grammar for r in requests):
            self.masks = self._token_masks(logits_BV.shape[1])
        ids: list[list[int]] = [[] for _ in requests]
        logps: list[list[float]] = [[] for _ in requests]
        matchers = [
            self.masks.start(r.row_id, r.grammar) if self.masks and r.grammar else None
            for r in requests
        ]
        live = torch.arange(
            len(requests), device=logits_BV.device
        )  # (B,) row of the batch -> index of the request
        ended = torch.zeros(len(requests), dtype=torch.bool, device=logits_BV.device)
        for step in range(decoding.max_new_tokens):
            if self.masks and any(matchers):
                logits_BV = self.masks.apply(logits_BV, [matchers[i] for i in live.tolist()])
            token_B, logp_B = self._next(logits_BV, seeds[live.cpu().numpy()], step, decoding)
            rows = zip(
                live.tolist(), ended.tolist(), token_B.tolist(), logp_B.tolist(), strict=True
            )
            for i, over, token, logp in rows:
                if not over:
                    ids[i].append(token)
                    logps[i].append(logp)
                    if self.masks and (matcher := matchers[i]) is not None:
                        self.masks.accept(matcher, token, requests[i].row_id)
            ended = ended | torch.isin(token_B, self.stop_ids)
            if bool(ended.all()) or step + 1 == decoding.max_new_tokens:
                break
            if int(ended.sum()) * 4 >= len(ended):
                keep = (~ended).nonzero().squeeze(1)
                cache.batch_select_indices(keep)
                live, ended, token_B, mask_BT = (
                    live[keep],
                    ended[keep],
                    token_B[keep],
                    mask_BT[keep],
                )
            mask_BT = torch.cat([mask_BT, mask_BT.new_ones(len(live), 1)], dim=1)
            logits_BV = self.model(
                input_ids=token_B.unsqueeze(1),
                attention_mask=mask_BT,
                position_ids=mask_BT.sum(-1, keepdim=True) - 1,
                past_key_values=cache,
                use_cache=True,
            ).logits[:, -1]
        stops = set(self.stop_ids.tolist())
        return [
            Completion(i, p, "stop" if i[-1] in stops else "length")
            for i, p in zip(ids, logps, strict=True)
        ]

    @staticmethod
    def _next(
        logits_BV: torch.Tensor, seeds: np.ndarray, step: int, how: Decoding
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The next token of each row and its log-probability, (B,) and (B,)."""
        if how.temperature == 0:
            logp_BV = torch.log_softmax(logits_BV.float(), dim=-1)
            token_B = logp_BV.argmax(-1)
        else:
            logp_BV = sampling_logp(logits_BV, how.temperature, how.top_p)
            token_B = draw(logp_BV, torch.from_numpy(uniform(seeds, step)))
        return token_B, logp_BV.gather(1, token_B.unsqueeze(1)).squeeze(1)

    def logprobs(self, rows: Sequence[Scored], top_k: int) -> list[TokenLogprobs]:
        """Next-token log-probabilities at the positions of each response, in the order of the
        rows.
        """
        return Reader((Part(self.model),), self.pad_id, self.batch_tokens).logprobs(rows, top_k)


def stop_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Every id that ends a response: the tokenizer's and the generation config's."""
    configured = model.generation_config.eos_token_id if model.generation_config else None
    ids = configured if isinstance(configured, list) else [configured]
    return sorted({i for i in (*ids, tokenizer.eos_token_id) if isinstance(i, int)})


def open_engine(
    name: str, folder: Path, device: str, batch_rows: int
) -> tuple[Engine, PreTrainedTokenizerBase]:
    """The named engine on the model of a folder, with its tokenizer."""
    if name != "transformers":
        raise RosdError(f"engine {name!r} is unknown; there is: transformers.")
    model, tokenizer = load_model(folder, device)
    stops = stop_ids(model, tokenizer)
    return TransformersEngine(model, stops, pad_id(tokenizer), batch_rows, tokenizer), tokenizer


def pad_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """The id that fills batches: the pad token, else the end token; no result depends on it."""
    return next(i for i in (tokenizer.pad_token_id, tokenizer.eos_token_id) if isinstance(i, int))


def decode(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> str:
    """The text of sampled ids without special tokens, as their decoder writes it: cleaned up, it
    could not be mapped back to tokens.
    """
    return str(
        tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
    )


def encode_chat(
    tokenizer: PreTrainedTokenizerBase, messages: list[dict[str, str]], thinking: bool = False
) -> list[int]:
    """Chat messages as prompt ids that end where the assistant begins."""
    return tokenizer(chat_text(tokenizer, messages, thinking), add_special_tokens=False)[
        "input_ids"
    ]


def chat_text(
    tokenizer: PreTrainedTokenizerBase, messages: list[dict[str, str]], thinking: bool = False
) -> str:
    """Chat messages as text that ends where the assistant begins. `thinking` is what templates of
    reasoning models know as `enable_thinking`; others do not look at it.
    """
    return str(
        tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=True, enable_thinking=thinking
        )
    )
