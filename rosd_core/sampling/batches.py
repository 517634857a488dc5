"""Which prompts are decoded together, and which of their tokens are read once for several."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from math import ceil, log2

import numpy as np

# prompts first to end - 1 of a list, and how many tokens at their start all of them share
Group = tuple[int, int, int]


def decode_batches(
    prompts: Sequence[Sequence[int]], max_new: int, most: int
) -> Iterator[list[int]]:
    """Indices of prompts in batches whose cache has at most `most` positions, which is rows x
    (longest prompt + max_new); at least one row each.

    Prompts are ordered by length in steps of 19 % (2^(1/4)), which keeps the padding small, and
    within a step by their tokens: equal prompts stand together, and those that begin alike are
    neighbours.
    """

    def key(n: int) -> tuple[int, tuple[int, ...], int]:
        return ceil(4 * log2(len(prompts[n]))), tuple(prompts[n]), n

    batch: list[int] = []
    longest = 0
    for n in sorted(range(len(prompts)), key=key):
        longest = max(longest, len(prompts[n]))
        if batch and (len(batch) + 1) * (longest + max_new) > most:
            yield batch
            batch, longest = [], len(prompts[n])
        batch.append(n)
    if batch:
        yield batch


def prefix_groups(prompts: Sequence[Sequence[int]]) -> list[Group]:
    """Cut a sorted list of different prompts into groups, so that reading the prefix of each once
    saves the most tokens.

    best(end) = max over first of best(first) + (end - first - 1) x prefix(first..end). A group of
    one has its whole prompt as prefix.
    """
    shared = np.array([_common(a, b) for a, b in pairwise(prompts)], dtype=np.int64)
    best, cut = np.zeros(len(prompts) + 1, dtype=np.int64), [0]
    for end in range(1, len(prompts) + 1):
        # from the last prompt before `end` back: prefixes and gains of groups of 1, 2, 3, ...
        prefix = np.append(0, np.minimum.accumulate(shared[: end - 1][::-1]))
        gain = best[:end][::-1] + np.arange(end) * prefix
        cut.append(end - 1 - int(gain.argmax()))
        best[end] = gain.max()
    groups, end = [], len(prompts)
    while end:
        first = cut[end]
        one = end - first == 1
        prefix = len(prompts[first]) if one else int(shared[first : end - 1].min())
        groups.append((first, end, prefix))
        end = first
    return groups[::-1]


def prefix_packs(
    prompts: Sequence[Sequence[int]], groups: Sequence[Group], most: int
) -> Iterator[list[Group]]:
    """The groups in packs of at most `most` tokens, at least one prompt each; a group that does not
    fit is cut, and each part of it reads the prefix.
    """
    packed: list[Group] = []
    tokens = 0
    for first, end, prefix in groups:
        begun = False
        for n in range(first, end):
            own = len(prompts[n]) - prefix
            if packed and tokens + own + (0 if begun else prefix) > most:
                yield packed
                packed, tokens, begun = [], 0, False
            if begun:
                packed[-1] = (packed[-1][0], n + 1, prefix)
            else:
                packed.append((n, n + 1, prefix))
            tokens += own + (0 if begun else prefix)
            begun = True
    if packed:
        yield packed


def _common(a: Sequence[int], b: Sequence[int]) -> int:
    """How many tokens two prompts have in common at their start."""
    return next(
        (n for n, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b))
    )
