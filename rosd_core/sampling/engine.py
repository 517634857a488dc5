"""Engines: token ids in, token ids and log-probabilities out.

`generate` samples a continuation for each request. Rows are independent of each other: a row's
continuation does not depend on the order or the number of rows beside it, because each row brings
its own seed. Any engine (CPU loop, vLLM, Ray workers) fits behind this interface.

To add an engine: a module beside this one, a branch in `open_engine`, its name in
rosd_core/config/params.py, and a test.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from rosd_core.errors import RosdError
from rosd_core.tables.progress import Report, silent

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


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
    """How to sample; temperature 0 = greedy."""

    temperature: float
    top_p: float
    max_new_tokens: int


@dataclass(frozen=True)
class Completion:
    """The sampled ids (end token included), their log-probabilities under the sampling
    distribution, why it ended, and the log-probabilities under the model itself: at temperature 1,
    over all ids.

    Greedy decoding reports the log-probability at temperature 1.
    """

    token_ids: list[int]
    logprobs: list[float]
    finish_reason: str
    model_logprobs: list[float]


class Engine(Protocol):
    """What a stage uses of an engine."""

    def generate(self, requests: Sequence[Request], decoding: Decoding) -> list[Completion]: ...


def open_engine(
    name: str, folder: Path, device: str, batch_tokens: int, report: Report = silent
) -> tuple[Engine, "PreTrainedTokenizerBase"]:
    """The named engine on the model of a folder, with its tokenizer. It reports the rows and tokens
    that it has sampled.
    """
    if name != "transformers":
        raise RosdError(f"engine {name!r} is unknown; there is: transformers.")
    from rosd_core.sampling.transformers_engine import open_transformers

    return open_transformers(folder, device, batch_tokens, report)
