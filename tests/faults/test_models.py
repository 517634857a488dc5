"""Models, tokenizers and adapters that are cut off, foreign, or not to be trusted."""

import json
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from rosd_core.errors import RosdError
from rosd_core.models.loading import load_adapter, load_plain, load_tokenizer
from tests.support import ROOT, command, refused

WEIGHTS = "model.safetensors"


@pytest.fixture
def model(project) -> Path:
    """The base model's folder, to be broken, in a project with its problems."""
    code, said = command(project, "prepare")
    assert code == 0, said
    return project / "models" / "base"


def edit(file: Path, **changes) -> None:
    config = json.loads(file.read_text()) | changes
    file.write_text(json.dumps({k: v for k, v in config.items() if v is not None}))


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


@pytest.mark.parametrize(
    ("name", "harm", "message"),
    [
        (WEIGHTS, cut, "the model cannot be read"),
        (WEIGHTS, lambda f: f.write_bytes(b""), "the model cannot be read"),
        (WEIGHTS, lambda f: f.write_text("<html>not found</html>"), "the model cannot be read"),
        (WEIGHTS, Path.unlink, "model"),
        ("config.json", cut, "cannot be read"),
        ("config.json", lambda f: f.write_text("[]"), "cannot be read"),
        ("config.json", lambda f: edit(f, model_type="nonesuch"), "cannot be read"),
        ("config.json", lambda f: edit(f, hidden_size=64), "cannot be read"),
        ("config.json", lambda f: edit(f, num_hidden_layers=5), "cannot be read"),
        ("config.json", Path.unlink, "config.json is missing"),
        ("tokenizer.json", cut, "the tokenizer cannot be read"),
        ("tokenizer.json", lambda f: f.write_text("{}"), "the tokenizer cannot be read"),
        ("tokenizer.json", Path.unlink, "tokenizer.json is missing"),
        ("generation_config.json", lambda f: f.write_text("{"), "generation_config.json cannot be"),
        ("chat_template.jinja", Path.unlink, "no chat template"),
        ("chat_template.jinja", lambda f: f.write_text("{{ 1 / 0 }}"), "chat template"),
        ("chat_template.jinja", lambda f: f.write_text("{% if"), "chat template"),
        (
            "chat_template.jinja",
            lambda f: f.write_text("{{ messages.__class__.__mro__ }}"),
            "chat template",
        ),
    ],
)
def test_a_broken_model_is_named(model, name, harm, message):
    if name == "generation_config.json" and not (model / name).is_file():
        (model / name).write_text("{}")
    harm(model / name)
    said = refused(model.parent.parent, "rollout", "i1")
    assert message in said
    assert str(model) in said
    assert not list(model.parent.parent.glob("iterations/**/*.parquet"))


def test_one_missing_tensor_is_not_drawn_at_random(model):
    tensors = load_file(model / WEIGHTS)
    del tensors["model.layers.2.mlp.up_proj.weight"]
    save_file(tensors, model / WEIGHTS, {"format": "pt"})
    with pytest.raises(RosdError, match=r"lack 1 tensors .* model.layers.2.mlp.up_proj.weight"):
        load_plain(model)


class Evil:
    """Unpickling it makes a file."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self):
        return Path.touch, (self.file,)


@pytest.fixture
def trap(tmp_path) -> Path:
    return tmp_path / "executed"


def test_pickled_weights_are_not_opened(model, trap):
    (model / WEIGHTS).unlink()
    (model / "pytorch_model.bin").write_bytes(pickle.dumps(Evil(trap)))
    with pytest.raises(RosdError, match="the model cannot be read"):
        load_plain(model)
    assert not trap.exists()


def test_a_pickled_adapter_is_not_opened(model, trap, tmp_path):
    peft = pytest.importorskip("peft")
    adapter = tmp_path / "adapter"
    wrapped = peft.get_peft_model(
        load_plain(model), peft.LoraConfig(r=2, target_modules="all-linear")
    )
    wrapped.save_pretrained(str(adapter))
    (adapter / "adapter_model.safetensors").unlink()
    (adapter / "adapter_model.bin").write_bytes(pickle.dumps(Evil(trap)))
    edit(adapter / "adapter_config.json", base_model_name_or_path=str(model))
    with pytest.raises(RosdError, match=r"adapter_model\.safetensors is missing"):
        load_adapter(adapter, trainable=False)
    torch.save({}, adapter / "adapter_model.safetensors")  # a pickle under the trusted name
    with pytest.raises(RosdError, match="the adapter cannot be read"):
        load_adapter(adapter, trainable=False)
    assert not trap.exists()


def test_code_in_a_model_folder_is_not_run(model, trap):
    code = f"open({str(trap)!r}, 'w')\nclass Own: pass\n"
    (model / "own.py").write_text(code)
    edit(
        model / "config.json", model_type="own",
        auto_map={"AutoConfig": "own.Own", "AutoModelForCausalLM": "own.Own"},
    )  # fmt: skip
    with pytest.raises(RosdError, match="cannot be read"):
        load_plain(model)
    edit(model / "tokenizer_config.json", auto_map={"AutoTokenizer": ["own.Own", None]})
    shutil.copy(ROOT / "models" / "base" / "config.json", model / "config.json")
    try:
        load_tokenizer(model)  # may come from tokenizer.json alone
    except RosdError as error:
        assert "the tokenizer cannot be read" in str(error)
    assert not trap.exists()
