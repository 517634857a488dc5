"""The supervised mask: from the characters of the errors to the supervised tokens.

The prefix before the first error is never trained on. `align.spans` chooses:

| align.spans | supervised |
| --- | --- |
| first_to_end | from the first error to the end, end token included (the paper's mask) |
| spans | the quoted tokens alone |
| first_to_end_of_step | from the first error to the end of its line |

`align.skip_thinking` and `align.skip_first` then take away tokens of thinking and of the start.

To add one: write its function, add it to `SPANS`, its name to `Align.spans` in
rosd_core/config/training.py and to the comment in params.yaml, and test it.

Dimension names: T token of the response.
"""

from collections.abc import Callable, Sequence

import numpy as np

from rosd_core.align.fold import Span
from rosd_core.prompts.thinking import thinking_spans


def token_range(spans_T2: np.ndarray, span: Span) -> tuple[int, int]:
    """Tokens [first, end) that contribute at least a byte to the characters [start, end) of `span`.

    Both are the number of tokens where no token does.
    """
    start, end = span
    touches_T = (spans_T2[:, 1] > start) & (spans_T2[:, 0] < max(end, start + 1))
    touches_T &= spans_T2[:, 1] > spans_T2[:, 0]
    touching = np.flatnonzero(touches_T)
    if not len(touching):
        return len(spans_T2), len(spans_T2)
    return int(touching[0]), int(touching[-1]) + 1


def end_of_step(response: str, char: int) -> int:
    """End of the line that holds character `char`: a step of a solution is a line."""
    end = response.find("\n", char)
    return len(response) if end < 0 else end


def _between(spans_T2: np.ndarray, first: int, end: int) -> np.ndarray:
    """The mask of the tokens [first, end), (T,)."""
    place_T = np.arange(len(spans_T2))
    return (place_T >= first) & (place_T < end)


def _first_to_end(errors: Sequence[Span], response: str, spans_T2: np.ndarray) -> np.ndarray:
    first, _ = token_range(spans_T2, (errors[0][0], len(response)))
    return _between(spans_T2, first, len(spans_T2))


def _spans(errors: Sequence[Span], response: str, spans_T2: np.ndarray) -> np.ndarray:
    ranges = [_between(spans_T2, *token_range(spans_T2, span)) for span in errors]
    return np.logical_or.reduce(ranges)


def _first_to_end_of_step(
    errors: Sequence[Span], response: str, spans_T2: np.ndarray
) -> np.ndarray:
    start = errors[0][0]
    return _between(spans_T2, *token_range(spans_T2, (start, end_of_step(response, start))))


# name -> (errors in order of their start, response, characters of its tokens) -> mask of tokens
SPANS: dict[str, Callable[[Sequence[Span], str, np.ndarray], np.ndarray]] = {
    "first_to_end": _first_to_end,
    "spans": _spans,
    "first_to_end_of_step": _first_to_end_of_step,
}


def supervised_tokens(
    errors: Sequence[Span], response: str, spans_T2: np.ndarray, spans: str
) -> np.ndarray:
    """The mask of the supervised tokens, (T,), given the characters of the errors in any order and
    a key of `SPANS`.
    """
    return SPANS[spans](sorted(errors), response, spans_T2)


def skipped_tokens(
    response: str, spans_T2: np.ndarray, skip_thinking: bool, skip_first: int
) -> np.ndarray:
    """The mask of tokens that are supervised in no case, (T,): the first `skip_first`, and with
    `skip_thinking` those of thinking blocks and of the white space that follows each. A token that
    holds the end of a block and more belongs to the block; where all is thinking, so does the end
    token.
    """
    skipped_T = _between(spans_T2, 0, skip_first)
    for start, end in thinking_spans(response) if skip_thinking else ():
        end += len(response[end:]) - len(response[end:].lstrip())
        first, last = token_range(spans_T2, (start, end))
        skipped_T |= _between(spans_T2, first, len(spans_T2) if end == len(response) else last)
    return skipped_T


def first_difference(response: str, peer: str) -> int:
    """Number of characters that `response` has in common with the start of `peer`."""
    shared = min(len(response), len(peer))
    return next((n for n in range(shared) if response[n] != peer[n]), shared)


def fallback_tokens(
    quote_not_found: str, response: str, peer: str | None, spans_T2: np.ndarray
) -> np.ndarray | None:
    """The mask of the supervised tokens, (T,), of a wrong response none of whose quotes was found;
    None to drop it.

    `whole`: all of them. `divergence`: all of them, until score finds the onset.
    `from_first_difference`: from where the response departs from the correct response `peer` of its
    group, where there is one.
    """
    count = len(spans_T2)
    if quote_not_found in ("whole", "divergence"):
        return _between(spans_T2, 0, count)
    if quote_not_found == "from_first_difference" and peer is not None:
        start = first_difference(response, peer)
        first, _ = token_range(spans_T2, (start, len(response)))
        return _between(spans_T2, max(0, min(first, count - 1)), count)
    return None
