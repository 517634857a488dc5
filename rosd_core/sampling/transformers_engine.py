"""The default engine: transformers' models, one prefill per distinct prompt, a static cache.

Dimension names: B row, U unique prompt, T token, V vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerBase
from transformers.cache_utils import Cache, DynamicLayer

from rosd_core.errors import RosdError
from rosd_core.models.loading import context_length, load_model
from rosd_core.prompts.chat import pad_id
from rosd_core.sampling.draw import draw, sampling_logp, uniform
from rosd_core.sampling.engine import Completion, Decoding, Request

if TYPE_CHECKING:
    from llguidance import LLMatcher

    from rosd_core.sampling.quote_grammar import TokenMasks


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


@dataclass
class _Row:
    """A request with what has been sampled for it so far."""

    request: Request
    matcher: "LLMatcher | None"
    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    model_logprobs: list[float] = field(default_factory=list)


@dataclass
class _Live:
    """The rows of a batch that are still decoded: their cache, the mask of the tokens in it, and
    which have ended and wait to be dropped.
    """

    rows: list[_Row]
    cache: Cache
    mask_BT: torch.Tensor
    ended_B: torch.Tensor

    def drop_ended(self, token_B: torch.Tensor) -> torch.Tensor:
        """Drop the rows that have ended once they are a quarter of the batch; the tokens of the
        rows that are left.
        """
        if int(self.ended_B.sum()) * 4 < len(self.rows):
            return token_B
        keep = (~self.ended_B).nonzero().squeeze(1)
        self.cache.batch_select_indices(keep)
        self.rows = [self.rows[b] for b in keep.tolist()]
        self.ended_B, self.mask_BT = self.ended_B[keep], self.mask_BT[keep]
        return token_B[keep]


class TransformersEngine:
    """One prefill per distinct prompt, a static cache, SDPA and inverse-CDF sampling.

    `batch_rows` bounds the rows decoded together.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        stop_ids: Sequence[int],
        pad_id: int,
        batch_rows: int,
        tokenizer: PreTrainedTokenizerBase | None = None,
    ) -> None:
        self.model, self.pad_id, self.batch_rows = model.eval(), pad_id, batch_rows
        self.tokenizer, self.masks = tokenizer, None
        self.stop_ids = torch.tensor(sorted(stop_ids), device=model.device)
        self.context_length = context_length(model.config)

    @torch.inference_mode()
    def generate(self, requests: Sequence[Request], decoding: Decoding) -> list[Completion]:
        """Sample a continuation of each request, in the order of the requests.

        Raises RosdError for a prompt that leaves no room for `max_new_tokens` in the model's
        context.
        """
        for request in requests:
            self._refuse_overlong(request, decoding.max_new_tokens)
        order = sorted(range(len(requests)), key=lambda i: len(requests[i].prompt_ids))
        done: dict[int, Completion] = {}
        for start in range(0, len(order), self.batch_rows):
            batch = order[start : start + self.batch_rows]
            completions = self._decode([requests[i] for i in batch], decoding)
            done |= dict(zip(batch, completions, strict=True))
        return [done[i] for i in range(len(requests))]

    def _refuse_overlong(self, request: Request, max_new: int) -> None:
        if not request.prompt_ids:
            raise RosdError(f"row {request.row_id}: the prompt has no token.")
        needed = len(request.prompt_ids) + max_new
        if needed > self.context_length:
            raise RosdError(
                f"row {request.row_id}: a prompt of {len(request.prompt_ids)} tokens and "
                f"{max_new} new ones need {needed} positions; the model has "
                f"{self.context_length}. Shorten the prompt or max_new_tokens."
            )

    def _token_masks(self, vocabulary: int) -> "TokenMasks":
        """The grammar library's view of the tokenizer, opened once."""
        from rosd_core.sampling.quote_grammar import TokenMasks

        if self.masks is None:
            backend = getattr(self.tokenizer, "backend_tokenizer", None)
            if backend is None:
                raise RosdError(
                    "grammars need a fast tokenizer (tokenizer.json) in the model folder."
                )
            self.masks = TokenMasks(backend.to_str(), vocabulary, self.stop_ids.tolist())
        return self.masks

    def _prefill(
        self, requests: Sequence[Request], max_new: int
    ) -> tuple[Cache, torch.Tensor, torch.Tensor]:
        """Run each distinct prompt once; the cache, the last logits and the mask, expanded to the
        rows. Padding is on the left, so that every row writes its next token into the same slot.
        """
        prompts = list(dict.fromkeys(tuple(r.prompt_ids) for r in requests))
        index = {prompt: u for u, prompt in enumerate(prompts)}
        longest = max(map(len, prompts))
        ids_UT = torch.full((len(prompts), longest), self.pad_id)
        mask_UT = torch.zeros(len(prompts), longest, dtype=torch.long)
        for u, prompt in enumerate(prompts):
            ids_UT[u, longest - len(prompt) :] = torch.tensor(prompt)
            mask_UT[u, longest - len(prompt) :] = 1
        device = self.model.device
        ids_UT, mask_UT = ids_UT.to(device), mask_UT.to(device)
        cache = _new_cache(self.model, longest + max_new)
        out = self.model(
            input_ids=ids_UT,
            attention_mask=mask_UT,
            position_ids=(mask_UT.cumsum(-1) - 1).clamp(min=0),
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        rows_B = torch.tensor([index[tuple(r.prompt_ids)] for r in requests], device=device)
        cache.batch_select_indices(rows_B)
        return cache, out.logits[:, -1][rows_B], mask_UT[rows_B]

    def _decode(self, requests: Sequence[Request], decoding: Decoding) -> list[Completion]:
        """Decode one batch."""
        cache, logits_BV, mask_BT = self._prefill(requests, decoding.max_new_tokens)
        rows = [_Row(request, self._matcher(request, logits_BV.shape[1])) for request in requests]
        ended_B = torch.zeros(len(rows), dtype=torch.bool, device=logits_BV.device)
        live = _Live(list(rows), cache, mask_BT, ended_B)
        for step in range(decoding.max_new_tokens):
            token_B = self._sample(live, logits_BV, step, decoding)
            live.ended_B = live.ended_B | torch.isin(token_B, self.stop_ids)
            if bool(live.ended_B.all()) or step + 1 == decoding.max_new_tokens:
                break
            logits_BV = self._forward(live, live.drop_ended(token_B))
        stops = set(self.stop_ids.tolist())
        return [
            Completion(
                row.ids,
                row.logprobs,
                "stop" if row.ids[-1] in stops else "length",
                row.model_logprobs,
            )
            for row in rows
        ]

    def _matcher(self, request: Request, vocabulary: int) -> "LLMatcher | None":
        if not request.grammar:
            return None
        return self._token_masks(vocabulary).start(request.row_id, request.grammar)

    def _forward(self, live: _Live, token_B: torch.Tensor) -> torch.Tensor:
        """Logits after one more token per row, (B, V)."""
        live.mask_BT = torch.cat([live.mask_BT, live.mask_BT.new_ones(len(live.rows), 1)], dim=1)
        return self.model(
            input_ids=token_B.unsqueeze(1),
            attention_mask=live.mask_BT,
            position_ids=live.mask_BT.sum(-1, keepdim=True) - 1,
            past_key_values=live.cache,
            use_cache=True,
        ).logits[:, -1]

    def _sample(
        self, live: _Live, logits_BV: torch.Tensor, step: int, decoding: Decoding
    ) -> torch.Tensor:
        """The next token of each row, (B,); appended to the rows that have not ended."""
        plain_BV, matchers = logits_BV.float(), [row.matcher for row in live.rows]
        if self.masks is not None and any(matchers):
            logits_BV = self.masks.apply(logits_BV, matchers)
        if decoding.temperature == 0:
            logp_BV = torch.log_softmax(logits_BV.float(), dim=-1)
            token_B = logp_BV.argmax(-1)
        else:
            seeds_B = np.array([row.request.seed for row in live.rows], dtype=np.uint64)
            logp_BV = sampling_logp(logits_BV, decoding.temperature, decoding.top_p)
            token_B = draw(logp_BV, torch.from_numpy(uniform(seeds_B, step)))
        token_B1 = token_B.unsqueeze(1)
        logp_B1 = logp_BV.gather(1, token_B1)
        model_B1 = plain_BV.gather(1, token_B1) - plain_BV.logsumexp(-1, keepdim=True)
        columns = (token_B, logp_B1.squeeze(1), model_B1.squeeze(1), live.ended_B)
        sampled = zip(*(column.tolist() for column in columns), strict=True)
        for row, (token, logprob, model_logprob, ended) in zip(live.rows, sampled, strict=True):
            if not ended:
                row.ids.append(token)
                row.logprobs.append(logprob)
                row.model_logprobs.append(model_logprob)
                if self.masks is not None and row.matcher is not None:
                    self.masks.accept(row.matcher, token, row.request.row_id)
        return token_B


def stop_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Every id that ends a response: the tokenizer's and the generation config's."""
    configured = model.generation_config.eos_token_id if model.generation_config else None
    ids = configured if isinstance(configured, list) else [configured]
    return sorted({i for i in (*ids, tokenizer.eos_token_id) if isinstance(i, int)})


def open_transformers(
    folder: Path, device: str, batch_rows: int
) -> tuple[TransformersEngine, PreTrainedTokenizerBase]:
    """The engine on the model of a folder, with its tokenizer."""
    model, tokenizer = load_model(folder, device)
    stops = stop_ids(model, tokenizer)
    return TransformersEngine(model, stops, pad_id(tokenizer), batch_rows, tokenizer), tokenizer
