"""Weights that are infinite or not a number."""

from collections.abc import Iterable

import torch


def first_not_finite(tensors: Iterable[tuple[str, torch.Tensor]]) -> str | None:
    """Which of the named tensors is the first that is not finite, and how much of it: such as
    `model.norm.weight (3 of 128 values)`; None where all are.
    """
    for name, tensor in tensors:
        if bad := values_not_finite(tensor):
            return f"{name} ({bad} of {tensor.numel()} values)"
    return None


def values_not_finite(tensor: torch.Tensor) -> int:
    """How many values are infinite or not a number."""
    if not tensor.is_floating_point() or not tensor.numel():
        return 0
    # both extremes are NaN where one value is: they say it without copies of the tensor
    if torch.isfinite(torch.stack(torch.aminmax(tensor))).all():
        return 0
    return tensor.numel() - int(torch.isfinite(tensor).sum())
