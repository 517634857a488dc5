"""Exported weights are those of the iteration, in one piece."""

import json

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from rosd_core.models.loading import load_model
from rosd_core.share.checkpoint import write_checkpoint
from tests.support import ROOT


def test_whole_weights_are_copied_and_traces_of_this_machine_are_not(tmp_path):
    source = ROOT / "models" / "base"
    write_checkpoint(source, tmp_path)
    weights = "model.safetensors"
    assert (tmp_path / weights).read_bytes() == (source / weights).read_bytes()
    template = "chat_template.jinja"
    assert (tmp_path / template).read_text() == (source / template).read_text()
    assert "local_files_only" not in json.loads((tmp_path / "tokenizer_config.json").read_text())
    assert json.loads((tmp_path / "generation_config.json").read_text())["eos_token_id"] == 2


def test_an_adapter_becomes_whole_weights_with_the_same_outputs(tmp_path, tiny, tokenizer):
    peft = pytest.importorskip("peft")
    base, adapter, target = (tmp_path / name for name in ("base", "adapter", "target"))
    tiny.save_pretrained(base)
    tokenizer.save_pretrained(base)
    config = peft.LoraConfig(
        r=2, lora_alpha=4, target_modules="all-linear", init_lora_weights=False
    )
    torch.manual_seed(0)
    whole = AutoModelForCausalLM.from_pretrained(base)
    peft.get_peft_model(whole, config).save_pretrained(adapter)
    tokenizer.save_pretrained(adapter)
    target.mkdir()
    write_checkpoint(adapter, target)
    ids = torch.tensor([[5, 6, 7, 8, 9, 10]])
    expected = load_model(adapter, "cpu")[0](ids).logits
    found = AutoModelForCausalLM.from_pretrained(target)(ids).logits
    torch.testing.assert_close(found, expected)
    assert (expected - tiny(ids).logits).abs().max() > 0.1  # the adapter does something
    assert not (target / "adapter_config.json").exists()
    assert AutoTokenizer.from_pretrained(target).chat_template == tokenizer.chat_template
