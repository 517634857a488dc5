"""How a trained model is written."""

import copy

import torch
from transformers import AutoModelForCausalLM

from rosd_core.forward.teachers import load_head
from rosd_core.models import student as module
from rosd_core.models.loading import load_model
from rosd_core.models.student import Student, save_student
from rosd_core.tables.hashing import fingerprint


def test_a_large_model_is_several_files(tiny, tokenizer, tmp_path, monkeypatch):
    """5 GB stand for 60 kB here: an index and files of at most that, which load as one model."""
    save_student(Student(copy.deepcopy(tiny)), tokenizer, tmp_path / "one", merge=False)
    assert [f.name for f in tmp_path.glob("one/*.safetensors")] == ["model.safetensors"]
    monkeypatch.setattr(module, "FILE_SIZE", "60KB")
    save_student(Student(copy.deepcopy(tiny)), tokenizer, tmp_path / "many", merge=False)
    sizes = {f.name: f.stat().st_size for f in tmp_path.glob("many/*.safetensors")}
    assert len(sizes) > 1
    assert sorted(sizes.values())[-2] <= 60_000  # a tensor is not cut: the embedding is larger
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "many")
    ours, _ = load_model(tmp_path / "many", "cpu")
    for name, parameter in tiny.named_parameters():
        assert torch.equal(parameter, ours.get_parameter(name))
        assert torch.equal(parameter, theirs.get_parameter(name))
    heads = [load_head([(tmp_path / n, 1.0)], "cpu").matrix_VH for n in ("one", "many")]
    assert torch.equal(*heads)
    assert fingerprint(tmp_path / "many")
