"""Frozen weights in 4 bits (NF4) under an adapter."""

import copy

import pytest
import torch

from rosd_core.config.load import load_params
from rosd_core.errors import RosdError
from rosd_core.models import quantized
from rosd_core.models.loading import load_plain
from rosd_core.models.quantized import load_nf4
from rosd_core.models.student import open_student, save_student
from tests.support import ROOT, write_params

# the NF4 values of arXiv 2305.14314, appendix E, to 7 digits
NF4 = [-1.0, -0.6961928, -0.5250731, -0.3949175, -0.2844414, -0.1847734, -0.0910500, 0.0]
NF4 += [0.0795803, 0.1609302, 0.2461123, 0.3379152, 0.4407098, 0.5626170, 0.7229568, 1.0]
LORA = {"rank": 2, "alpha": 4.0, "dropout": 0.0, "modules": "all-linear"}
MATRIX = "model.layers.0.mlp.up_proj"


@pytest.fixture(scope="module")
def folder(tiny, tokenizer, tmp_path_factory):
    """A tiny model, one matrix of which has NF4 values times 3 alone."""
    pytest.importorskip("bitsandbytes")
    pytest.importorskip("peft")
    model = copy.deepcopy(tiny)
    matrix = model.get_parameter(f"{MATRIX}.weight")
    with torch.no_grad():
        matrix.copy_(3 * torch.tensor(NF4).repeat(matrix.numel() // 16).view_as(matrix))
    path = tmp_path_factory.mktemp("nf4") / "base"
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


def identity_through(layer, width):
    """The weights that a layer computes with, (in, out)."""
    with torch.no_grad():
        return layer(torch.eye(width))


def test_values_of_the_table_come_back_and_others_go_to_the_nearest(folder):
    whole, small = load_plain(folder), load_nf4(folder, "cpu")
    exact = identity_through(small.get_submodule(MATRIX), 32)
    assert torch.allclose(exact, whole.get_parameter(f"{MATRIX}.weight").T, atol=1e-5)
    other = "model.layers.1.mlp.down_proj"
    blocks = whole.get_parameter(f"{other}.weight").reshape(-1, 64)  # row by row, in blocks of 64
    largest = blocks.abs().amax(1, keepdim=True)
    distance = (blocks / largest).unsqueeze(-1) - torch.tensor(NF4)
    nearest = torch.tensor(NF4)[distance.abs().argmin(-1)] * largest
    found = identity_through(small.get_submodule(other), 64).T.reshape(-1, 64)
    # the block's scale has 8 bits itself: 1/127 of the spread of all scales, at most half a step
    spread = (largest - largest.mean()).abs().max()
    assert (found - nearest).abs().max() <= spread / 127 + 1e-5


def test_only_linear_layers_are_small_and_the_head_is_none(folder):
    whole, small = load_plain(folder), load_nf4(folder, "cpu")
    frozen = {n for n, p in small.named_parameters() if p.dtype == torch.uint8}
    assert frozen == {n for n, p in whole.named_parameters() if "_proj." in n}
    kept = [n for n, _ in whole.named_parameters() if n not in frozen]
    for name in kept:
        assert torch.equal(small.get_parameter(name), whole.get_parameter(name)), name
    weight = small.get_parameter(f"{MATRIX}.weight")
    assert weight.numel() == 64 * 32 / 2  # two a byte


def test_a_pass_without_gradients_changes_none_after_it(folder):
    model, ids = load_nf4(folder, "cpu").eval(), torch.tensor([[5, 6, 7]])
    embedded = model.get_input_embeddings()(ids).detach().requires_grad_()
    model(inputs_embeds=embedded).logits.sum().backward()
    first, embedded.grad = embedded.grad, None
    with torch.no_grad():
        model(ids)
    model(inputs_embeds=embedded).logits.sum().backward()
    second = embedded.grad
    assert first is not None and second is not None and first.abs().max() > 0
    assert torch.equal(first, second)


def test_an_adapter_is_trained_and_written_onto_the_weights_as_they_were(
    folder, tokenizer, tmp_path
):
    """Whole weights are W + (alpha / rank) B A with W of the base, not of its 4 bits."""
    student = open_student(folder, "cpu", LORA, folder.parent, 1, quantized=True)
    trained = [(n, p) for n, p in student.model.named_parameters() if p.requires_grad]
    assert trained and all("lora_" in name for name, _ in trained)
    student.model(torch.tensor([[5, 6, 7]])).logits.sum().backward()
    assert any(p.grad is not None and p.grad.abs().max() > 0 for _, p in trained)
    with torch.no_grad():
        for name, p in trained:
            p.copy_(torch.full_like(p, 0.5) if "lora_B" in name else torch.ones_like(p))
    written = save_student(student, tokenizer, tmp_path / "whole", merge=True)
    whole, base = load_plain(tmp_path / "whole"), load_plain(folder)
    for name, before in base.named_parameters():
        added = 4 / 2 * (2 * 0.5 * 1) if "_proj." in name else 0  # two ranks of 0.5 x 1, times 2
        assert torch.allclose(whole.get_parameter(name), before + added, atol=1e-5), name
        assert torch.equal(whole.get_parameter(name), written.get_parameter(name))


def test_what_is_missing_is_named(folder, monkeypatch):
    monkeypatch.setattr(quantized, "find_spec", lambda name: None)
    with pytest.raises(RosdError, match=r"nf4 needs bitsandbytes and accelerate: pip install .*"):
        load_nf4(folder, "cpu")


def test_it_is_not_sharded(tmp_path):
    lora = LORA | {"merge": True, "quantize": "nf4"}
    write_params(tmp_path, {"distill": {"lora": lora}})
    assert load_params(tmp_path / "params.yaml").distill.quantized
    assert not load_params(ROOT / "params.yaml").distill.quantized
    write_params(tmp_path, {"distill": {"lora": lora, "sharding": "fsdp"}})
    with pytest.raises(RosdError, match=r"quantize nf4 needs distill\.sharding none"):
        load_params(tmp_path / "params.yaml")
