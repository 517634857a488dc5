"""Fixtures: a tiny random Qwen3 with the pocket tokenizer, and a small project folder."""

import shutil
from pathlib import Path

import pytest
from hypothesis import settings
from ruamel.yaml import YAML

from rosd_core.params import load_params
from rosd_core.world import DOMAINS
from stages.common import Paths

settings.register_profile("rosd", deadline=None)  # a busy machine is no failure
settings.load_profile("rosd")

ROOT = Path(__file__).resolve().parent.parent
SMALL = {
    "prepare": {
        "domains": {
            name: {
                "task": "pocket",
                "domain": name,
                "steps": [3, 4, 5],
                "train": 12 if name == "chain" else 0,
                "test": 3,
            }
            for name in DOMAINS
        }
    },
    "loop": {"i1": {"start": "base"}},
    "machine": {"threads": 1},
    "rollout": {"problems": 6, "group_size": 4, "shard_problems": 3},
    "evaluate": {"samples": 2},
    "distill": {"rows_per_step": 8, "batch_tokens": 200},
}


def write_params(folder: Path, changes: dict) -> Path:
    """The shipped params with some values changed, in `folder`."""
    yaml = YAML()
    data = yaml.load((ROOT / "params.yaml").read_text())
    for section, values in changes.items():
        if section == "loop":
            data["loop"] = values
        else:
            data[section].update(values)
    file = folder / "params.yaml"
    yaml.dump(data, file)
    return file


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

    from rosd_core.pocket import build_model

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


def run_stage(project: Path, stage: str, *args: str) -> None:
    """A stage in this process, on a project folder."""
    from importlib import import_module

    params = load_params(project / "params.yaml")
    import_module(f"stages.{stage}").run(params, Paths(project), *args)
