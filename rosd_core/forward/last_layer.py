"""The last decoder layer at the tokens alone whose hidden states are read.

Nothing reads the last layer's output of a prompt's tokens or of those that no supervised token is
predicted from, so queries, output projection and MLP are computed for the others only; keys and
values for all. Where nothing is computed the layer's output is not that of the model.

Dimension names: T packed token, R token whose hidden state is read.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from transformers import PreTrainedModel


class _Reads:
    """Hooks that narrow a module to the tokens that are read, and put zeros elsewhere."""

    def __init__(self) -> None:
        self.read_R: torch.Tensor | None = None
        self.tokens = 0

    def note(self, module: torch.nn.Module, args: tuple[Any, ...], named: dict[str, Any]) -> None:
        """Before the layer's attention, which is given `read`; None: all tokens are read."""
        self.read_R = named.get("read")

    def narrow(self, module: torch.nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        if self.read_R is None:
            return None
        self.tokens = args[0].shape[1]
        return (args[0].index_select(1, self.read_R), *args[1:])

    def widen(
        self, module: torch.nn.Module, args: tuple[Any, ...], output: torch.Tensor
    ) -> torch.Tensor | None:
        if self.read_R is None:
            return None
        whole_1TX = output.new_zeros(1, self.tokens, output.shape[-1])
        return whole_1TX.index_copy(1, self.read_R, output)


def _parts(model: PreTrainedModel) -> tuple[torch.nn.Module, list[torch.nn.Module]] | None:
    """The last layer's attention, and its modules that work on each token apart; None where the
    layer is not built of these, as in a mixture of experts.
    """
    layers: Any = getattr(model.base_model, "layers", None)
    if not isinstance(layers, torch.nn.ModuleList) or not len(layers):
        return None
    layer: Any = layers[-1]
    attention, mlp = getattr(layer, "self_attn", None), getattr(layer, "mlp", None)
    if not all(hasattr(attention, name) for name in ("q_proj", "o_proj")):
        return None
    if attention is None or mlp is None or not hasattr(mlp, "down_proj"):
        return None
    return attention, [attention.q_proj, attention.o_proj, mlp]


@contextmanager
def last_layer_where_read(model: PreTrainedModel) -> Iterator[None]:
    """A context in which a model that is given `read`, the places (R,) of one sequence, computes
    its last layer there alone; a layer of another kind is computed whole.
    """
    parts, reads = _parts(model), _Reads()
    with ExitStack() as stack:
        if parts is not None:
            attention, modules = parts
            hook = attention.register_forward_pre_hook(reads.note, with_kwargs=True)
            stack.callback(hook.remove)
            for module in modules:
                stack.callback(module.register_forward_pre_hook(reads.narrow).remove)
                stack.callback(module.register_forward_hook(reads.widen).remove)
        yield
