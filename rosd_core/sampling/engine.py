"""Engines: token ids in, token ids and log-probabilities out.

`generate` samples a continuation for each request. Rows are independent of each other: a row's
continuation does not depend on the order or the number of rows beside it, because each row brings
its own seed.

To add an engine: a module beside this one with a function `open_model`, a branch in `open_engine`,
its name in rosd_core/config/engines.py, and a test.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

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
    """How to sample; temperature 0 = greedy. `model_logprobs`: whether completions have to bring
    those, too.
    """

    temperature: float
    top_p: float
    max_new_tokens: int
    model_logprobs: bool = False

    @property
    def plain(self) -> bool:
        """Whether tokens are drawn from the model's own distribution."""
        return self.temperature == 1 and self.top_p == 1


@dataclass(frozen=True)
class Completion:
    """The sampled ids (end token included), their log-probabilities under the sampling
    distribution, why it ended, and, where the decoding asks for them, the log-probabilities under
    the model itself: at temperature 1, over all ids.

    Greedy decoding reports the log-probability at temperature 1.
    """

    token_ids: list[int]
    logprobs: list[float]
    finish_reason: str
    model_logprobs: list[float] = field(default_factory=list)


class Engine(Protocol):
    """What a stage uses of an engine."""

    def generate(self, requests: Sequence[Request], decoding: Decoding) -> list[Completion]: ...


@dataclass(frozen=True)
class VllmSettings:
    """`params.yaml: engine.vllm`; the names are the same there."""

    dtype: str
    gpu_memory: float
    cpu_cache_gib: int
    tensor_parallel: int
    pipeline_parallel: int
    eager: bool
    options: dict[str, Any]


@dataclass(frozen=True)
class ServerSettings:
    """`params.yaml: engine.server`; the names are the same there. `check_bound`: the largest mean
    difference between the server's log-probabilities and the model's own; None: no check.
    """

    url: str
    model: str | None
    concurrency: int
    timeout: float
    retries: int
    check_bound: float | None


@dataclass(frozen=True)
class EngineSettings:
    """Which engine, on which device, and what it needs to know: `batch_tokens` bounds the cache
    positions in use and `autocast` is the dtype of matrix products (transformers), `longest` is the
    most tokens of a prompt and its continuation.
    """

    name: str
    device: str
    batch_tokens: int
    longest: int = 0
    vllm: VllmSettings | None = None
    server: ServerSettings | None = None
    autocast: str = "none"


Opened = tuple[Engine, "PreTrainedTokenizerBase"]


def open_engine(settings: EngineSettings, folder: Path, report: Report = silent) -> Opened:
    """The engine on the model of a folder, with its tokenizer. It reports the rows and tokens that
    it has sampled. Raises RosdError where it cannot be opened.
    """
    if settings.name == "vllm":
        from rosd_core.sampling.vllm_engine import open_model
    elif settings.name == "server":
        from rosd_core.sampling.server_engine import open_model
    else:
        from rosd_core.sampling.transformers_engine import open_model
    return open_model(settings, folder, report)
