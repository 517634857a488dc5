"""Weights that are infinite or not a number."""

from collections.abc import Iterable

import torch


def first_not_finite(tensors: Iterable[tuple[str, torch.Tensor]]) -> str | None:
    """Which of the named tensors is the first that is not finite, and how much of it: such as
    `model.norm.weight (3 of 128 values)`; None where all are.
    """
    for name, tensor in tensors:
        if tensor.is_floating_point():
            bad = tensor.numel() - int(torch.isfinite(tensor).sum())
            if bad:
                return f"{name} ({bad} of {tensor.numel()} values)"
    return None
