"""Sizes of models from their configs alone, with numbers derived by hand."""

import json

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from rosd_core.errors import RosdError
from rosd_core.forward.packing import pack, packed_attention, packed_hidden
from rosd_core.plan.memory import saved_bytes
from rosd_core.plan.model_shape import read_config, shape_of
from tests.support import ROOT

TINY = {
    "model_type": "llama", "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 1, "head_dim": 4, "intermediate_size": 16, "vocab_size": 32,
    "tie_word_embeddings": True,
}  # fmt: skip
SMOLLM2 = {
    "model_type": "llama", "hidden_size": 576, "num_hidden_layers": 30, "num_attention_heads": 9,
    "num_key_value_heads": 3, "intermediate_size": 1536, "vocab_size": 49152,
    "tie_word_embeddings": True,
}  # fmt: skip


def shape(folder, values):
    file = folder / "c.json"
    file.write_text(json.dumps(values))
    return shape_of(read_config(str(file)), "c.json")


def test_a_model_that_is_counted_by_hand(tmp_path):
    tiny = shape(tmp_path, TINY)
    # a layer: queries 8 x 8, keys and values 8 x 4 each, output 8 x 8, inner 3 x 8 x 16: 576, and
    # two norms of 8; then the embedding 32 x 8, which is the head too, and a norm of 8
    assert tiny.body == 2 * 576
    assert tiny.parameters == 2 * (576 + 16) + 256 + 8
    assert (tiny.head, tiny.tied) == (256, True)
    assert (tiny.query_width, tiny.cache_width) == (8, 4)
    # keys and values of 4 numbers in 2 layers
    assert tiny.cache_bytes(4) == 2 * 2 * 4 * 4
    # 10 tokens: 2 x 1152 operations each, and 4 x 2 layers x 8 x 5 tokens of context
    assert tiny.forward(10, 5) == 10 * (2304 + 320)
    assert tiny.logits(3) == 3 * 2 * 8 * 32
    untied = shape(tmp_path, TINY | {"tie_word_embeddings": False})
    assert untied.parameters == tiny.parameters + 256
    assert (untied.body, untied.tied) == (tiny.body, False)


@pytest.mark.parametrize(("name", "billions"), [("Qwen/Qwen3-4B", 4.02), ("Qwen/Qwen3-8B", 8.19)])
def test_published_models_have_their_published_sizes(name, billions):
    assert round(shape_of(read_config(name), name).parameters / 1e9, 2) == billions


def test_smollm2_has_134_5_million_parameters(tmp_path):
    assert shape(tmp_path, SMOLLM2).parameters == 134_515_008


def test_of_experts_those_count_that_a_token_meets(tmp_path):
    moe = {
        "model_type": "qwen3_moe", "hidden_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16,
        "intermediate_size": 128, "moe_intermediate_size": 32, "num_experts": 8,
        "num_experts_per_tok": 2, "vocab_size": 100,
    }  # fmt: skip
    # attention 2 x 64 x 64 + 2 x 64 x 32, router 8 x 64, 2 of 8 experts of 3 x 64 x 32
    assert shape(tmp_path, moe).body == 2 * (12288 + 512 + 2 * 6144)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (None, "no such file"),
        ("{", "not JSON"),
        ("[]", "no model_type"),
        ('{"model_type": "no-such-model"}', "cannot read this config"),
        ('{"model_type": "t5"}', "no language model"),
    ],
)
def test_a_config_that_is_none_is_refused(tmp_path, text, told):
    file = tmp_path / "config.json"
    if text is not None:
        file.write_text(text)
    with pytest.raises(RosdError, match=told):
        shape_of(read_config(str(tmp_path)), str(file))


def test_a_model_that_is_not_here_names_those_that_are_known():
    with pytest.raises(RosdError, match=r"nobody/nothing: no config.*--config FILE.*Qwen3-8B"):
        read_config("nobody/nothing")


def test_saved_activations_are_those_of_a_real_backward_pass():
    config = AutoConfig.from_pretrained(ROOT / "models" / "base")
    model = AutoModelForCausalLM.from_config(config)
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    saved: dict[int, int] = {}

    def see(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    packed = pack([(range(40), range(n, n + 30), range(30)) for n in range(8)])
    hooks = torch.autograd.graph.saved_tensors_hooks(see, lambda tensor: tensor)
    with packed_attention(model), hooks:
        hidden_NH = packed_hidden(model, packed)
    assert hidden_NH.requires_grad
    of_layer = sum(saved.values()) / len(packed.ids_T) / config.num_hidden_layers
    assert of_layer == pytest.approx(saved_bytes(shape_of(config, "base")), rel=0.2)
