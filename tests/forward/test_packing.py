"""Packs against rows alone, padded rows and plain forward passes."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, GptOssConfig, LlamaConfig, MistralConfig

from rosd_core.errors import RosdError
from rosd_core.forward.attention import Segment, _one_by_one, segment_attention
from rosd_core.forward.packing import (
    batches,
    can_pack,
    pack,
    packed_attention,
    packed_hidden,
    packed_tokens,
    padded_hidden,
    sampled_tokens,
    supervised_hidden,
)
from rosd_core.forward.recompute import keep_activations, recompute_activations

ids = st.lists(st.integers(3, 40), min_size=1, max_size=9)


@st.composite
def pack_rows(draw):
    """Rows, some of one prompt, with any ascending positions."""
    prompts, rows = draw(st.lists(ids, min_size=1, max_size=3)), []
    for _ in range(draw(st.integers(1, 6))):
        response = draw(ids)
        chosen = draw(st.sets(st.integers(0, len(response) - 1), min_size=1))
        rows.append((draw(st.sampled_from(prompts)), response, sorted(chosen)))
    return rows


def test_a_pack_by_hand():
    """Two responses of prompt 5 6 and one of prompt 7. Of the first only token 0 is read, which
    the prompt predicts; of the second tokens 1 and 2, so that its inputs are 11 and 12."""
    rows = [([5, 6], [10], [0]), ([7], [14, 15], [1]), ([5, 6], [11, 12, 13, 19], [1, 2])]
    packed = pack(rows)
    assert packed.ids_T.tolist() == [5, 6, 11, 12, 7, 14]
    assert packed.positions_T.tolist() == [0, 1, 2, 3, 0, 1]
    assert packed.segments == (Segment(0, 2), Segment(2, 4, (0, 2)), Segment(4, 6))
    assert packed.sources_N.tolist() == [1, 5, 2, 3]
    assert sampled_tokens(rows).tolist() == [10, 15, 12, 13]
    assert packed_tokens(rows) == 2 + 1 + 0 + 1 + 2


def test_batches_keep_prompts_together_and_a_long_row_goes_alone():
    rows = [([1, 2], [5] * 4, [3]), ([9] * 20, [5], [0]), ([1, 2], [6] * 4, [3]), ([3], [4], [0])]
    # sorted by prompt length: 3 (1 token), then 1 2 with 3 and 3 tokens: 1 + 2 + 3 + 3 = 9
    assert list(batches(rows, 9)) == [[3, 0, 2], [1]]
    assert list(batches(rows, 8)) == [[3, 0], [2], [1]]


@given(pack_rows(), st.integers(1, 60), st.data())
def test_batches_hold_every_row_once_and_both_packs_keep_the_limit(rows, most, data):
    prompts = data.draw(st.lists(ids, min_size=len(rows), max_size=len(rows)))
    teacher = [(prompt, *row[1:]) for prompt, row in zip(prompts, rows, strict=True)]
    for sides in ([rows], [rows, teacher]):
        found = list(batches(rows, most, *sides[1:]))
        assert sorted(n for chosen in found for n in chosen) == list(range(len(rows)))
        for chosen in found:
            sizes = [packed_tokens([side[n] for n in chosen]) for side in sides]
            assert len(chosen) == 1 or max(sizes) <= most


def test_a_longer_teacher_prompt_makes_smaller_batches():
    rows = [([1], [5, 6], [1])] * 2  # one shared prompt: 1 + 1 + 1 = 3 tokens
    teacher = [([1, 2, n], [5, 6], [1]) for n in (3, 4)]  # two prompts: 2 x (3 + 1) = 8
    assert list(batches(rows, 7)) == [[0, 1]]
    assert list(batches(rows, 7, teacher)) == [[0], [1]]
    assert list(batches(rows, 8, teacher)) == [[0, 1]]
    assert list(batches(rows, 4, [teacher[0]] * 2)) == [[0], [1]]  # shared: 3 + 1 + 1 = 5
    assert list(batches(rows, 5, [teacher[0]] * 2)) == [[0, 1]]


def by_hand(model, rows):
    """Each row alone, whole, by the model's own attention."""
    made = []
    for prompt, response, positions in rows:
        out = model.base_model(input_ids=torch.tensor([[*prompt, *response]]), use_cache=False)
        made.append(out.last_hidden_state[0, [len(prompt) + t - 1 for t in positions]])
    return torch.cat(made)


@given(pack_rows())
def test_packed_is_padded_is_alone(tiny, rows):
    with torch.no_grad():
        alone = by_hand(tiny, rows)
        assert torch.allclose(supervised_hidden(tiny, rows, 0), alone, atol=1e-5)
        assert torch.allclose(padded_hidden(tiny, rows, 0), alone, atol=1e-5)


SHAPE: dict[str, Any] = {
    "vocab_size": 48, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2,
    "num_attention_heads": 4, "max_position_embeddings": 64,
}  # fmt: skip


@pytest.mark.parametrize(
    "config",
    [
        LlamaConfig(**SHAPE, num_key_value_heads=4),
        MistralConfig(**SHAPE, num_key_value_heads=2, sliding_window=3),
    ],
    ids=lambda config: config.model_type,
)
def test_other_architectures_and_sliding_windows(config):
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).eval()
    rows = [
        ([5, 6, 7, 8], [9, 10, 11, 12], [1, 3]),
        ([5, 6, 7, 8], [4] * 6, [0, 5]),
        ([3], [4], [0]),
    ]
    assert can_pack(model)
    with torch.no_grad():
        assert torch.allclose(supervised_hidden(model, rows, 0), by_hand(model, rows), atol=1e-5)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_gradients_are_those_of_rows_alone(tiny, checkpointing):
    """The shared prompt's gradient is the sum over its rows."""
    rows = [([5, 6, 7], [9, 10, 11], [0, 2]), ([5, 6, 7], [12, 13], [1]), ([8, 9], [3, 4, 5], [1])]

    def gradients(hidden):
        names = [p for p in tiny.parameters() if p is not tiny.get_output_embeddings().weight]
        way = torch.randn(hidden.shape, generator=torch.Generator().manual_seed(0))
        return torch.autograd.grad((hidden * way).sum(), names, allow_unused=True)

    alone = gradients(by_hand(tiny, rows))
    if checkpointing:
        tiny.train()
        recompute_activations(tiny)
    try:
        with packed_attention(tiny):
            found = gradients(packed_hidden(tiny, pack(rows)))
    finally:
        keep_activations(tiny)
        tiny.eval()
    for a, b in zip(found, alone, strict=True):
        assert (a is None) == (b is None)
        assert a is None or torch.allclose(a, b, rtol=1e-3, atol=1e-5 * b.abs().max().item())
    assert tiny.config._attn_implementation == "sdpa"


def test_the_last_layer_works_on_the_tokens_that_are_read(tiny):
    """Of 3 + 2 + 5 tokens three are read: the last of the prompt, which predicts two, and two."""
    rows = [([5, 6, 7], [9, 10, 11], [0, 2]), ([5, 6, 7], [12, 13, 14, 15, 16, 17], [0, 5])]
    widths, hooks = {}, []
    for number, layer in enumerate(tiny.base_model.layers):
        for name in ("mlp", "self_attn.q_proj", "self_attn.k_proj"):

            def note(module, args, output, key=(number, name)):
                widths[key] = args[0].shape[1]

            hooks.append(layer.get_submodule(name).register_forward_hook(note))
    with torch.no_grad(), packed_attention(tiny):
        packed_hidden(tiny, pack(rows))
    for hook in hooks:
        hook.remove()
    last = len(tiny.base_model.layers) - 1
    assert widths[0, "mlp"] == widths[last, "self_attn.k_proj"] == 10
    assert widths[last, "mlp"] == widths[last, "self_attn.q_proj"] == 3


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_attention_in_two_parts_is_that_of_one_call_with_a_mask(dtype):
    """Outputs and gradients: a shared prompt, a lone row, an empty prompt; grouped heads."""
    segments = [
        Segment(0, 3), Segment(3, 8, (0, 3)), Segment(8, 9, (0, 3)), Segment(9, 13),
        Segment(13, 13), Segment(13, 15, (13, 13)),
    ]  # fmt: skip
    g = torch.Generator().manual_seed(0)
    made = [torch.randn(1, heads, 15, 8, generator=g).to(dtype) for heads in (4, 2, 2)]
    way, found = torch.randn(1, 15, 4, 8, generator=g).to(dtype), []
    for attend in (segment_attention, _one_by_one):
        leaves = [x.clone().requires_grad_() for x in made]
        query, key, value = leaves
        out = attend(query, key, value, segments, None, 0.0, 0.4)
        found.append([out, *torch.autograd.grad((out * way).sum(), leaves)])
    for one, two in zip(*found, strict=True):
        assert one.dtype == two.dtype
        assert torch.allclose(one, two, atol=1e-5 if dtype == torch.float32 else 0.05)


def test_attention_with_sinks_is_padded_and_what_is_not_known_is_refused():
    """gpt-oss hands its attention sinks over as s_aux, which a pack would lose."""
    config = GptOssConfig(
        vocab_size=64, hidden_size=32, intermediate_size=32, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, head_dim=8, num_local_experts=2,
        num_experts_per_tok=1, sliding_window=4, max_position_embeddings=64,
    )  # fmt: skip
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).eval()
    assert not can_pack(model)
    rows = [([5, 6, 7], [10, 11, 12], [0, 2]), ([5, 6, 7], [13], [0])]
    with torch.no_grad():
        assert torch.equal(supervised_hidden(model, rows, 0), padded_hidden(model, rows, 0))
        with packed_attention(model), pytest.raises(RosdError, match=r"GptOssAttention.*s_aux"):
            packed_hidden(model, pack(rows))
