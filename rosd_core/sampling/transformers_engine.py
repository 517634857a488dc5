"""The default engine: transformers' models, batches bounded by their tokens, inverse-CDF sampling.

Dimension names: B row, T token, V vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.cache_utils import Cache

from rosd_core.errors import RosdError
from rosd_core.models.loading import context_length, load_model, low_precision
from rosd_core.prompts.chat import pad_id, stop_ids
from rosd_core.sampling.batches import decode_batches
from rosd_core.sampling.decoder import open_decoder
from rosd_core.sampling.draw import greedy, sample, token_logp, uniform
from rosd_core.sampling.engine import Completion, Decoding, EngineSettings, Request
from rosd_core.sampling.prefill import prefill
from rosd_core.sampling.requests import refuse_overlong
from rosd_core.tables.progress import Report, silent

if TYPE_CHECKING:
    from llguidance import LLMatcher

    from rosd_core.sampling.quote_grammar import TokenMasks


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

    def running(self) -> int:
        """How many rows have not ended."""
        return len(self.rows) - int(self.ended_B.sum())

    def drop_ended(self, token_B: torch.Tensor) -> torch.Tensor:
        """Drop the rows that have ended once they are a quarter of the batch; the tokens of the
        rows that are left.
        """
        if self.running() * 4 > len(self.rows) * 3:
            return token_B
        keep = (~self.ended_B).nonzero().squeeze(1)
        self.cache.batch_select_indices(keep)
        self.rows = [self.rows[b] for b in keep.tolist()]
        self.ended_B, self.mask_BT = self.ended_B[keep], self.mask_BT[keep]
        return token_B[keep]


class TransformersEngine:
    """Prompts are read as in prefill.py; then a token per row and step, drawn as in draw.py.

    `batch_tokens` bounds the cache positions, and with them the rows, that are decoded together.
    With `autocast` bfloat16, matrix products are computed in bf16; a decoder of our own keeps its
    head and its attention in fp32.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        stop_ids: Sequence[int],
        pad_id: int,
        batch_tokens: int,
        tokenizer: PreTrainedTokenizerBase | None = None,
        report: Report = silent,
        fast: bool = True,
        autocast: str = "none",
    ) -> None:
        self.model, self.pad_id, self.batch_tokens = model.eval(), pad_id, batch_tokens
        self.tokenizer, self.masks, self.report = tokenizer, None, report
        self.fast, self.checked, self.decoder = fast, False, None
        self.autocast = autocast
        self.stop_ids = torch.tensor(sorted(stop_ids), device=model.device)
        self.context_length = context_length(model.config)

    @torch.inference_mode()
    def generate(self, requests: Sequence[Request], decoding: Decoding) -> list[Completion]:
        """Sample a continuation of each request, in the order of the requests.

        Raises RosdError for a prompt that leaves no room for `max_new_tokens` in the model's
        context.
        """
        refuse_overlong(requests, decoding.max_new_tokens, self.context_length)
        kind, dtype = self.model.device.type, self.autocast
        self.decoder = open_decoder(self.model, self.checked, dtype) if self.fast else None
        self.fast = self.checked = self.decoder is not None
        prompts, done = [request.prompt_ids for request in requests], {}
        with low_precision(kind, "none" if self.fast else dtype):
            for batch in decode_batches(prompts, decoding.max_new_tokens, self.batch_tokens):
                completions = self._decode(
                    [requests[i] for i in batch], decoding, len(done), len(requests)
                )
                done |= dict(zip(batch, completions, strict=True))
        self.decoder = None  # its copy of the weights is not kept: they may change
        return [done[i] for i in range(len(requests))]

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

    def _decode(
        self, requests: Sequence[Request], decoding: Decoding, before: int, of: int
    ) -> list[Completion]:
        """Decode one batch; of all `of` requests, `before` are done."""
        prompts = [request.prompt_ids for request in requests]
        filled = prefill(self.model, prompts, decoding.max_new_tokens, self.pad_id, self.decoder)
        logits_BV = filled.logits_BV
        rows = [_Row(request, self._matcher(request, logits_BV.shape[1])) for request in requests]
        ended_B = torch.zeros(len(rows), dtype=torch.bool, device=logits_BV.device)
        live = _Live(list(rows), filled.cache, filled.mask_BT, ended_B)
        for step in range(decoding.max_new_tokens):
            sampled = live.running()
            token_B = self._sample(live, logits_BV, step, decoding)
            live.ended_B = live.ended_B | torch.isin(token_B, self.stop_ids)
            self.report(before + len(rows) - live.running(), of, sampled)
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
        if self.decoder is not None:
            return self.decoder.step(token_B, live.mask_BT, live.cache)
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
        _refuse_not_finite(logits_BV, live.rows)
        logits_BV = logits_BV.float()
        plain_BV, matchers = logits_BV, [row.matcher for row in live.rows]
        if self.masks is not None and any(matchers):
            logits_BV = self.masks.apply(logits_BV, matchers)
        if decoding.temperature == 0:
            token_B, logp_B = greedy(logits_BV)
        else:
            seeds_B = np.array([row.request.seed for row in live.rows], dtype=np.uint64)
            uniforms_B = torch.from_numpy(uniform(seeds_B, step))
            token_B, logp_B = sample(logits_BV, uniforms_B, decoding.temperature, decoding.top_p)
        wanted = decoding.model_logprobs
        model_B = token_logp(plain_BV, token_B) if wanted else torch.zeros_like(logp_B)
        columns = (token_B, logp_B, model_B, live.ended_B)
        sampled = zip(*(column.tolist() for column in columns), strict=True)
        for row, (token, logprob, model_logprob, ended) in zip(live.rows, sampled, strict=True):
            if not ended:
                row.ids.append(token)
                row.logprobs.append(logprob)
                if wanted:
                    row.model_logprobs.append(model_logprob)
                if self.masks is not None and row.matcher is not None:
                    self.masks.accept(row.matcher, token, row.request.row_id)
        return token_B


def _refuse_not_finite(logits_BV: torch.Tensor, rows: Sequence[_Row]) -> None:
    """Raises RosdError naming the first row with a logit that is not a number or +inf, or with no
    other than -inf. Single ids may have -inf.
    """
    finite_B = torch.isfinite(logits_BV.amax(-1))  # the maximum of NaN and a number is NaN
    if not finite_B.all():
        row = rows[int((~finite_B).nonzero()[0])]
        raise RosdError(
            f"row {row.request.row_id}: the model's logits after {len(row.ids)} sampled tokens are "
            "not finite. Its weights are broken or too large: training diverged, or the file is "
            "damaged."
        )


def open_model(
    settings: EngineSettings, folder: Path, report: Report
) -> tuple[TransformersEngine, PreTrainedTokenizerBase]:
    """The engine on the model of a folder, with its tokenizer."""
    model, tokenizer = load_model(folder, settings.device)
    stops = stop_ids(model.generation_config, tokenizer)
    engine = TransformersEngine(
        model, stops, pad_id(tokenizer), settings.batch_tokens, tokenizer, report,
        autocast=settings.autocast,
    )  # fmt: skip
    return engine, tokenizer
