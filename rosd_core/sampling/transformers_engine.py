"""The default engine: transformers' models, one prefill per distinct prompt, a static cache.

Dimension names: B row, U unique prompt, T token, V vocabulary.
"""

from collections.abc import Sequence
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


class TransformersEngine:
    """The CPU engine: one prefill per distinct prompt, a static cache, SDPA and inverse-CDF
    sampling.

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
        self.context = context_length(model.config)

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
        from rosd_core.sampling.quote_grammar import TokenMasks

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
