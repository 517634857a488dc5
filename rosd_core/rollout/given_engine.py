"""An engine that returns responses which are there already, with the model's own log-probabilities.

Dimension names: N token, H hidden, V vocabulary.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from rosd_core.forward.packing import PackRow, batches, supervised_hidden
from rosd_core.models.loading import context_length
from rosd_core.rollout.given_table import kept_samples
from rosd_core.sampling.draw import token_logp
from rosd_core.sampling.engine import Completion, Decoding, Request
from rosd_core.sampling.requests import refuse_overlong
from rosd_core.tables.progress import Report, silent

CHUNK = 64  # tokens whose logits are in memory at once


class GivenEngine:
    """The responses of a table that `write_samples` wrote. The request `<problem_id>/<n>` gets the
    n-th of its problem.

    `batch_tokens` bounds the tokens of a forward pass; results do not depend on it.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        samples: Path,
        pad_id: int,
        batch_tokens: int,
        report: Report = silent,
    ) -> None:
        self.model, self.samples, self.pad_id = model.eval(), samples, pad_id
        self.batch_tokens, self.report = batch_tokens, report

    @torch.inference_mode()
    def generate(self, requests: Sequence[Request], decoding: Decoding) -> list[Completion]:
        """The given responses, in the order of the requests. Where the file does not say how likely
        a token was when it was sampled, this is its probability under the model at temperature 1.

        Raises RosdError for a prompt that leaves no room for `max_new_tokens` in the model's
        context.
        """
        refuse_overlong(requests, decoding.max_new_tokens, context_length(self.model.config))
        asked = [request.row_id.rpartition("/") for request in requests]
        samples = kept_samples(self.samples, sorted({problem_id for problem_id, _, _ in asked}))
        given = [samples[problem_id][int(number)] for problem_id, _, number in asked]
        rows: list[PackRow] = [
            (request.prompt_ids, sample.token_ids, range(len(sample.token_ids)))
            for request, sample in zip(requests, given, strict=True)
        ]
        own: dict[int, list[float]] = {}
        for batch in batches(rows, self.batch_tokens):
            own |= zip(batch, self._logp([rows[n] for n in batch]), strict=True)
            self.report(len(own), len(rows), sum(len(own[n]) for n in batch))
        return [
            Completion(s.token_ids, s.behaviour_logp or own[n], s.finish_reason, own[n])
            for n, s in enumerate(given)
        ]

    def _logp(self, rows: Sequence[PackRow]) -> list[list[float]]:
        """The log-probabilities of every token of some rows, at temperature 1 and over all ids.

        Models whose logits are not linear in the hidden state are refused by `score`.
        """
        hidden_NH = supervised_hidden(self.model, rows, self.pad_id)
        token_N = torch.tensor([t for _, ids, _ in rows for t in ids], device=hidden_NH.device)
        head: Any = self.model.get_output_embeddings()
        parts = zip(hidden_NH.split(CHUNK), token_N.split(CHUNK), strict=True)
        logp_N = torch.cat([token_logp(head(hidden), token) for hidden, token in parts])
        return [part.tolist() for part in logp_N.split([len(ids) for _, ids, _ in rows])]
