"""What engines do with every request."""

from rosd_core.errors import RosdError
from rosd_core.sampling.engine import Request


def refuse_overlong(request: Request, max_new: int, context_length: int) -> None:
    """Raises RosdError for a prompt that leaves no room for `max_new` tokens, or is empty."""
    if not request.prompt_ids:
        raise RosdError(f"row {request.row_id}: the prompt has no token.")
    needed = len(request.prompt_ids) + max_new
    if needed > context_length:
        raise RosdError(
            f"row {request.row_id}: a prompt of {len(request.prompt_ids)} tokens and {max_new} new "
            f"ones need {needed} positions; the model has {context_length}. Shorten the prompt or "
            "max_new_tokens."
        )


def signed_seed(seed: int) -> int:
    """A row's seed, 0 to 2^64 - 1, as the 63 bits that other engines take."""
    return seed >> 1
