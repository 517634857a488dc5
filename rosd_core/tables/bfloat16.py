"""Hidden states as bytes of a Parquet column: bf16, row by row."""

import torch


def to_bfloat16(hidden_NH: torch.Tensor) -> bytes:
    """Hidden states as they are stored: bf16, row by row."""
    return hidden_NH.to(torch.bfloat16).cpu().contiguous().view(torch.int16).numpy().tobytes()


def from_bfloat16(stored: bytes, tokens: int) -> torch.Tensor:
    """The inverse of `to_bfloat16`, (N, H)."""
    flat = torch.frombuffer(bytearray(stored), dtype=torch.int16).view(torch.bfloat16)
    return flat.view(tokens, -1)
