"""The forward pass of a plain decoder in fewer and faster operations than its own modules, for
sampling on a CPU, in fp32 or with the products of its layers in bf16.

Plain means the layers of Llama, Qwen2 and Qwen3: RMSNorm, attention with rotary positions to
everything before, a gated MLP, no biases but those of the projections. `open_decoder` recognises
them by the names and types of their modules, and takes a model only if its logits come out; all
others run as transformers wrote them.

What makes it fast: matrix products of oneDNN on weights in its own layout, queries, keys and values
in one product, attention that reads the cache where it is (heads that share keys are queries of one
head), positions once for all layers.

Dimension names: N token, B row, T slot of the cache, A attention head, K key-value head, g heads
that share keys and values, D head width, H hidden, V vocabulary.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch.nn import Linear
from torch.nn.functional import rms_norm
from transformers import PreTrainedModel
from transformers.cache_utils import Cache

from rosd_core.errors import RosdError
from rosd_core.forward.packing import Pack, Segment, can_pack
from rosd_core.sampling.attention import (
    SharedCache,
    States,
    attend_segment,
    attend_shared,
    attend_slots,
    own_mask,
    slots_bias,
)
from rosd_core.sampling.cache import StaticLayer, attends_to_everything

PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj")
HEAD_NORMS = ("q_norm", "k_norm")
MLP = ("gate_proj", "up_proj", "down_proj")
# weights of at most so many bytes are copied into oneDNN's layout; larger ones stay as they are,
# which costs a seventh of the speed at 64 rows and a third at 8
COPIED_BYTES = 4 << 30
TOLERANCE = 1e-4  # of the largest logit, between this forward pass and the model's own

# number of the layer, scaling, queries (N, A, D) with keys and values (N, K, D) -> (N, A x D)
Attend = Callable[[int, float, States], torch.Tensor]
NewProduct = Callable[[Sequence[Linear]], "_Product"]


class _Product:
    """x W^T + b of linear maps of the same x, side by side: (N, H) -> (N, sum of widths), computed
    in a dtype. Weights are copied into oneDNN's layout, or stay as they are, which must be in that
    dtype then.
    """

    def __init__(self, maps: Sequence[Linear], copied: bool, dtype: torch.dtype) -> None:
        self.dtype = dtype
        self.parts = [(linear.weight.detach(), linear.bias) for linear in maps]
        if copied:
            weight, bias = self.parts[0] if len(maps) == 1 else _side_by_side(maps)
            weight = torch.ops.mkldnn._reorder_linear_weight(weight.to(dtype))
            self.parts = [(weight, None if bias is None else bias.detach().to(dtype))]

    def __call__(self, x_NH: torch.Tensor) -> torch.Tensor:
        cast_NH = x_NH.to(self.dtype)
        made = [
            torch.ops.mkldnn._linear_pointwise(cast_NH, weight, bias, "none", [], "")
            for weight, bias in self.parts
        ]
        return (made[0] if len(made) == 1 else torch.cat(made, -1)).to(x_NH.dtype)


def _side_by_side(maps: Sequence[Linear]) -> tuple[torch.Tensor, torch.Tensor | None]:
    """One weight and one bias for all."""
    weight = torch.cat([linear.weight.detach() for linear in maps])
    if all(linear.bias is None for linear in maps):
        return weight, None
    zeros = [linear.weight.new_zeros(linear.out_features) for linear in maps]
    biases = [zero if x.bias is None else x.bias for zero, x in zip(zeros, maps, strict=True)]
    return weight, torch.cat(biases).detach()


class _Norm:
    """RMSNorm over the last dimension."""

    def __init__(self, module: Any) -> None:
        self.weight, self.epsilon = module.weight.detach(), module.variance_epsilon

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return rms_norm(x, self.weight.shape, self.weight, self.epsilon)


class _Layer:
    """The parts of a decoder layer."""

    def __init__(self, number: int, module: Any, product: NewProduct) -> None:
        attention, mlp = module.self_attn, module.mlp
        self.number, self.scaling = number, attention.scaling
        self.norm_1, self.norm_2 = map(
            _Norm, (module.input_layernorm, module.post_attention_layernorm)
        )
        self.qkv = product([attention.q_proj, attention.k_proj, attention.v_proj])
        self.head_norms = [
            _Norm(getattr(attention, n)) for n in HEAD_NORMS if hasattr(attention, n)
        ]
        self.out, self.down = (product([x]) for x in (attention.o_proj, mlp.down_proj))
        self.gate, self.up = (product([x]) for x in (mlp.gate_proj, mlp.up_proj))
        self.activation = mlp.act_fn

    def mlp(self, x_NH: torch.Tensor) -> torch.Tensor:
        return self.down(self.activation(self.gate(x_NH)).mul_(self.up(x_NH)))


def _rotated(x_NAD: torch.Tensor, cos_N1D: torch.Tensor, sin_N1D: torch.Tensor) -> torch.Tensor:
    """Rotary positions; the second half of `sin` equals the first. Source: Su et al. 2021,
    https://arxiv.org/abs/2104.09864
    """
    first, second = x_NAD.chunk(2, -1)
    return (x_NAD * cos_N1D).addcmul_(torch.cat([-second, first], -1), sin_N1D)


class Decoder:
    """A copy of a model's weights, in another layout, and its forward pass over packs and over one
    more token per row. The products of its layers are computed in a dtype, that of the head in
    fp32: a logit is often above 16, where bf16 has steps of an eighth.
    """

    def __init__(
        self, model: PreTrainedModel, dtype: torch.dtype = torch.float32, copied: bool | None = None
    ) -> None:
        base: Any = model.base_model
        size = sum(p.numel() * p.element_size() for p in model.parameters())
        copied = size <= COPIED_BYTES if copied is None else copied
        product = partial(_Product, copied=copied or dtype != torch.float32, dtype=dtype)
        self.embed, self.rotary, self.norm = base.embed_tokens, base.rotary_emb, _Norm(base.norm)
        self.layers = [_Layer(n, layer, product) for n, layer in enumerate(base.layers)]
        head: Any = model.get_output_embeddings()
        self.head = _Product([head], copied, torch.float32)
        first = base.layers[0].self_attn
        self.head_width = first.head_dim
        self.heads = first.q_proj.out_features // first.head_dim
        self.key_heads = first.k_proj.out_features // first.head_dim

    def _run(self, ids_N: torch.Tensor, positions_N: torch.Tensor, attend: Attend) -> torch.Tensor:
        """The hidden states after the last layer, (N, H), not yet normed."""
        hidden_NH = self.embed(ids_N)
        angles = self.rotary(hidden_NH.unsqueeze(0), position_ids=positions_N.unsqueeze(0))
        cos_N1D, sin_N1D = (x[0].unsqueeze(1) for x in angles)
        widths = (self.heads, self.key_heads, self.key_heads)
        for layer in self.layers:
            heads_NAD = layer.qkv(layer.norm_1(hidden_NH)).unflatten(-1, (-1, self.head_width))
            turned_NAD, value_NKD = heads_NAD.split([sum(widths[:2]), widths[2]], 1)
            if layer.head_norms:
                parts = zip(layer.head_norms, turned_NAD.split(widths[:2], 1), strict=True)
                turned_NAD = torch.cat([norm(part) for norm, part in parts], 1)
            query_NAD, key_NKD = _rotated(turned_NAD, cos_N1D, sin_N1D).split(widths[:2], 1)
            states = (query_NAD, key_NKD, value_NKD)
            hidden_NH = hidden_NH + layer.out(attend(layer.number, layer.scaling, states))
            hidden_NH += layer.mlp(layer.norm_2(hidden_NH))
        return hidden_NH

    def step(self, token_B: torch.Tensor, mask_BT: torch.Tensor, cache: Cache) -> torch.Tensor:
        """Logits after one more token per row, (B, V). `mask_BT` says which slots of the cache hold
        tokens, that of the new token included.
        """
        if isinstance(cache, SharedCache):
            attend = partial(attend_shared, cache)
        else:
            attend = partial(attend_slots, cache, slots_bias(mask_BT))
        hidden_BH = self._run(token_B, mask_BT.sum(-1) - 1, attend)
        return self.head(self.norm(hidden_BH))

    def read(self, packed: Pack, cache: Cache) -> torch.Tensor:
        """Logits after each prompt of a pack, (u, V); `cache` receives its keys and values."""
        masks = [own_mask(segment) for segment in packed.segments]

        def attend(number: int, scaling: float, states_NAD: States) -> torch.Tensor:
            query, key, value = (x.transpose(0, 1).unsqueeze(0) for x in states_NAD)
            cache.update(key, value, number)
            pieces = [
                attend_segment(segment, mask, scaling, (query, key, value))
                for segment, mask in zip(packed.segments, masks, strict=True)
            ]
            return torch.cat(pieces, 2)[0].transpose(0, 1).flatten(1)

        hidden_NH = self._run(packed.ids_T, packed.positions_T, attend)
        return self.head(self.norm(hidden_NH[packed.sources_N]))


def open_decoder(
    model: PreTrainedModel, checked: bool = False, autocast: str = "none"
) -> Decoder | None:
    """The decoder of a model; None for a model that is not plain, not in fp32 or not on a CPU with
    oneDNN. It holds a copy of the weights as they are now. `checked`: it has been opened before,
    and its logits are not compared again. `autocast`: the dtype of its layers' products, or none.
    Raises RosdError for bf16 on a CPU that has no products in it.
    """
    weights = list(model.parameters())
    if not torch.backends.mkldnn.is_available() or not _plain(model):
        return None
    if any(p.dtype != torch.float32 or p.device.type != "cpu" for p in weights):
        return None
    if autocast == "none":
        decoder = Decoder(model)
        return decoder if checked or _agrees(decoder, model) else None
    if not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        raise RosdError("this CPU has no bf16 products: set autocast none for the stage.")
    if not checked and not _agrees(Decoder(model, copied=False), model):  # bf16 would hide faults
        return None
    return Decoder(model, torch.bfloat16)


def _children(module: torch.nn.Module) -> set[str]:
    return {name for name, _ in module.named_children()}


def _is_norm(module: torch.nn.Module) -> bool:
    """Whether it is an RMSNorm with nothing but a weight."""
    names = [name for name, _ in module.named_parameters()]
    return names == ["weight"] and hasattr(module, "variance_epsilon")


def _plain(model: PreTrainedModel) -> bool:
    """Whether the modules are those of a plain decoder, and no adapter is among them."""
    base: Any = model.base_model
    head = model.get_output_embeddings()
    if not can_pack(model) or not attends_to_everything(model) or type(head) is not Linear:
        return False
    if _children(base) != {"embed_tokens", "layers", "norm", "rotary_emb"}:
        return False
    return _is_norm(base.norm) and all(map(_plain_layer, base.layers))


def _plain_layer(layer: Any) -> bool:
    if _children(layer) != {"self_attn", "mlp", "input_layernorm", "post_attention_layernorm"}:
        return False
    attention, mlp = layer.self_attn, layer.mlp
    norms = _children(attention) - set(PROJECTIONS)
    linear = [getattr(attention, n, None) for n in PROJECTIONS]
    linear += [getattr(mlp, n, None) for n in MLP]
    wanted = [layer.input_layernorm, layer.post_attention_layernorm]
    return (
        norms in (set(), set(HEAD_NORMS))
        and _children(mlp) - set(MLP) in (set(), {"act_fn"})
        and all(type(module) is Linear for module in linear)
        and all(map(_is_norm, [*wanted, *(getattr(attention, n) for n in norms)]))
    )


def _agrees(decoder: Decoder, model: PreTrainedModel) -> bool:
    """Whether reading six tokens, and then two more, gives the logits of the model itself."""
    ids_N = torch.linspace(0, model.config.vocab_size - 1, 8).long()
    real_NV = model(input_ids=ids_N.unsqueeze(0), use_cache=False).logits[0]
    cache = Cache(layers=[StaticLayer(8) for _ in decoder.layers])
    prompt = Pack(ids_N[:6], torch.arange(6), (Segment(0, 6),), torch.tensor([5]))
    found = [decoder.read(prompt, cache)]
    for n in (6, 7):
        found.append(decoder.step(ids_N[n : n + 1], torch.ones(1, n + 1, dtype=torch.long), cache))
    off = (torch.cat(found) - real_NV[5:]).abs().max()
    return bool(off <= TOLERANCE * real_NV.abs().max())
