"""Fixtures: a tiny random Qwen3 with the pocket tokenizer, and a small project folder."""

import shutil
from pathlib import Path

import pytest
from hypothesis import settings

from tests.support import ROOT, SMALL, write_params

settings.register_profile("rosd", deadline=None)  # a busy machine is no failure
settings.register_profile("fast", deadline=None, max_examples=10)
settings.register_profile("thorough", deadline=None, max_examples=1200)
settings.load_profile("rosd")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with small params and the shipped base model."""
    write_params(tmp_path, SMALL)
    shutil.copytree(ROOT / "models" / "base", tmp_path / "models" / "base")
    return tmp_path


@pytest.fixture(scope="session")
def tokenizer():
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(ROOT / "models" / "base")


@pytest.fixture(scope="session")
def tiny(tokenizer):
    """A random two-layer Qwen3; weights large enough that its distributions are far from flat."""
    import torch

    from rosd_core.pocket.recipe import build_model

    torch.set_num_threads(1)
    model = build_model(
        tokenizer, 3, hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=8, intermediate_size=64, max_position_embeddings=128,
    ).eval()  # fmt: skip
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(4)
    return model
