"""What engines do with every request."""

from collections.abc import Sequence
from dataclasses import replace

from rosd_core.errors import RosdError
from rosd_core.sampling.engine import Completion, Request


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


def with_model_logprobs(done: Sequence[Completion], own: Sequence[list[float]]) -> list[Completion]:
    """The completions with their log-probabilities under the model itself."""
    return [replace(c, model_logprobs=logprobs) for c, logprobs in zip(done, own, strict=True)]


def signed_seed(seed: int) -> int:
    """A row's seed, 0 to 2^64 - 1, as the 63 bits that other engines take."""
    return seed >> 1
