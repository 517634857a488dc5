"""A key-value cache of fixed capacity, for models in which every layer attends to everything.

Dimension names: R row that is written, T token or slot of the cache.
"""

import torch
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer


def attends_to_everything(model: PreTrainedModel) -> bool:
    """Whether every layer of the model attends to all tokens before, so that its cache can be
    static.
    """
    layers = DynamicCache(config=model.config).layers
    return bool(layers) and all(type(layer) is DynamicLayer for layer in layers)


class StaticLayer(DynamicLayer):
    """Keys and values in a buffer of fixed capacity: a step writes one slot in place where
    DynamicLayer copies all.
    """

    def __init__(self, capacity: int) -> None:
        super().__init__()
        self.capacity, self.length = capacity, 0

    def allocate(self, rows: int, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Zeros for that many rows, with the heads and widths of the states."""
        self.dtype, self.device = key_states.dtype, key_states.device
        self.keys, self.values = (
            states.new_zeros(rows, states.shape[1], self.capacity, states.shape[-1])
            for states in (key_states, value_states)
        )
        self.is_initialized = True

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        self.allocate(len(key_states), key_states, value_states)

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: object, **kwargs: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        assert self.keys is not None and self.values is not None
        end = self.length + key_states.shape[-2]
        self.keys[:, :, self.length : end] = key_states
        self.values[:, :, self.length : end] = value_states
        self.length = end
        return self.keys[:, :, :end], self.values[:, :, :end]

    def fill(self, layer: DynamicLayer, rows_R: torch.Tensor, index_RT: torch.Tensor) -> None:
        """Write tokens of a packed layer, (1, heads, tokens, width), into the first T slots of some
        rows.
        """
        assert layer.keys is not None and layer.values is not None
        assert self.keys is not None and self.values is not None
        self.length = index_RT.shape[1]
        for slots, states in ((self.keys, layer.keys), (self.values, layer.values)):
            chosen = states[0].index_select(1, index_RT.flatten()).unflatten(1, index_RT.shape)
            slots[rows_R, :, : self.length] = chosen.transpose(0, 1)

    def get_seq_length(self) -> int:
        return self.length

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.length + query_length, 0
