"""Activations that are computed again in the backward pass (gradient checkpointing), under the
names that it has in transformers: those of 5.23, or the older ones.
"""

from typing import Any

from transformers import PreTrainedModel


def recompute_activations(model: PreTrainedModel) -> None:
    """Keep only the inputs of each layer in a forward pass."""
    named: Any = model
    if hasattr(model, "activation_checkpointing_enable"):
        named.activation_checkpointing_enable({"use_reentrant": False})
    else:
        named.gradient_checkpointing_enable({"use_reentrant": False})


def keep_activations(model: PreTrainedModel) -> None:
    """Undo `recompute_activations`."""
    named: Any = model
    if hasattr(model, "activation_checkpointing_disable"):
        named.activation_checkpointing_disable()
    else:
        named.gradient_checkpointing_disable()
