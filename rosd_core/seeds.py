"""Seeds that depend on names alone, so that no count, order or batch size changes a row."""

import hashlib


def row_seed(seed: int, *names: str | int) -> int:
    """A 64-bit seed for one row: BLAKE2b over the stage's seed and the row's names."""
    text = "\x1f".join(map(str, (seed, *names)))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
