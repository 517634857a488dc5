"""What the stages tell engines, servers and other models, without running them."""

import json
import shutil

import pytest

from rosd_core.config.load import load_params
from rosd_core.errors import RosdError
from rosd_core.sampling.vllm_engine import lora_arguments
from stages.engines import engine_settings, longest
from stages.paths import Paths
from stages.serve import command
from tests.support import ROOT, SMALL, write_params

LENGTHS = {"max_prompt_tokens": 200, "max_new_tokens": 50}


@pytest.fixture
def params(tmp_path):
    """Reflections that start with a word of two bytes more than letters."""
    reflect = {**LENGTHS, "contract": "free", "prefill": {"wrong": "Größe", "correct": ""}}
    lengths = {name: SMALL[name] | LENGTHS for name in ("rollout", "evaluate")}
    return load_params(write_params(tmp_path, SMALL | lengths | {"reflect": reflect}))


def test_the_prefill_counts(params):
    """200 + 50, and at most a token per byte of `Größe`: 5 letters, two of them of two bytes."""
    assert longest(params.rollout) == 250
    assert longest(params.reflect) == 257
    settings = engine_settings(params.reflect, params.machine, params.engine)
    assert settings.longest == 257


def test_a_server_has_room_to_read_the_longest_response(params, tmp_path):
    """One token more than the longest stage needs, but no more than the model has."""
    paths = Paths(tmp_path)
    shutil.copytree(ROOT / "models" / "base", paths.model("base"))

    def context():
        arguments, _ = command(params, paths, "base")
        return int(arguments[arguments.index("--max-model-len") + 1])

    assert context() == 258
    file = paths.model("base") / "config.json"
    config = json.loads(file.read_text())
    file.write_text(json.dumps(config | {"max_position_embeddings": 257}))
    assert context() == 257


def test_another_model_is_found_in_the_project_and_at_home(tmp_path, monkeypatch):
    home, project = tmp_path / "home", tmp_path / "project"
    monkeypatch.setenv("HOME", str(home))
    for folder in (home / "big", project / "big", project / "bare"):
        folder.mkdir(parents=True)
        (folder / "model.safetensors").touch()
    paths = Paths(project)
    assert paths.other_model("~/big") == (home / "big").resolve()
    assert paths.other_model("big") == (project / "big").resolve()
    assert paths.other_model(str(home / "big")) == (home / "big").resolve()
    (project / "bare" / "model.safetensors").rename(project / "bare" / "pytorch_model.bin")
    with pytest.raises(RosdError, match=r"bare: no model\*\.safetensors; convert"):
        paths.other_model("bare")


def test_the_bound_of_adapter_ranks_is_one_that_vllm_takes():
    ranks = [lora_arguments(rank)["max_lora_rank"] for rank in (1, 8, 12, 65)]
    assert ranks == [8, 8, 16, 128]
    assert lora_arguments(None) == {}
