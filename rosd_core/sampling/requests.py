"""What engines do with every request."""

import math
from collections.abc import Sequence
from dataclasses import replace

from rosd_core.errors import RosdError
from rosd_core.sampling.engine import Completion, Request

ROUNDING = 1e-3  # nats that a log-probability may exceed 0 by


def refuse_overlong(requests: Sequence[Request], max_new: int, context_length: int) -> None:
    """Raises RosdError for a prompt that leaves no room for `max_new` tokens, or is empty."""
    for request in requests:
        if not request.prompt_ids:
            raise RosdError(f"row {request.row_id}: the prompt has no token.")
        needed = len(request.prompt_ids) + max_new
        if needed > context_length:
            raise RosdError(
                f"row {request.row_id}: a prompt of {len(request.prompt_ids)} tokens and {max_new} "
                f"new ones need {needed} positions; the model has {context_length}. Shorten the "
                "prompt or max_new_tokens."
            )


def refuse_bad_logprobs(
    engine: str, requests: Sequence[Request], done: Sequence[Completion]
) -> None:
    """Raises RosdError naming the row of a log-probability that is missing, infinite, not a number
    or above 0 by more than rounding.
    """
    for request, completion in zip(requests, done, strict=True):
        for name in ("logprobs", "model_logprobs"):
            for place, value in enumerate(getattr(completion, name)):
                if value is None or not -math.inf < value <= ROUNDING:
                    raise RosdError(
                        f"{engine}: row {request.row_id}: the log-probability of sampled token "
                        f"{place} is {value} ({name}). Its model or its precision is broken: look "
                        "for infinite or missing numbers in the weights, and try another dtype."
                    )


def with_model_logprobs(done: Sequence[Completion], own: Sequence[list[float]]) -> list[Completion]:
    """The completions with their log-probabilities under the model itself."""
    return [replace(c, model_logprobs=logprobs) for c, logprobs in zip(done, own, strict=True)]


def signed_seed(seed: int) -> int:
    """A row's seed, 0 to 2^64 - 1, as the 63 bits that other engines take."""
    return seed >> 1
