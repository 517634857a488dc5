"""`rosd bootstrap --from`: the whole command, stopped and gone on with, and what it refuses."""

import os
import signal
import subprocess
import sys

import polars as pl
import pytest
from typer.testing import CliRunner

from rosd_core.config.load import load_params
from rosd_core.errors import RosdError
from rosd_core.models.merge import merge_adapter
from rosd_core.models.pointer import check_model, pointer_file
from rosd_core.tables.hashing import file_hash
from stages.cli import app
from tests.support import ROOT, SMALL, run_stage, write_params

LORA = {"rank": 2, "alpha": 4.0, "dropout": 0.1, "modules": "all-linear", "merge": True}


def settings(lora: dict | None = None, last: int = 3, **changes) -> dict:
    """Three steps on facts and `last` on misconceptions, four conversations each."""
    finetune = load_params(ROOT / "params.yaml").finetune
    assert finetune is not None
    phases = finetune.model_dump()["phases"]
    lengths = {"facts": 3, "misconceptions": last}
    small = {"phases": {name: phase | {"steps": lengths[name]} for name, phase in phases.items()}}
    small |= {"rows_per_step": 4, "save_every": 2, "measure_every": 20, "held_out": 8, "until": {}}
    return SMALL | {"finetune": small | {"lora": lora} | changes}


def teach(project, name="finetuned"):
    run_stage(project, "finetune", str(project / "models" / "base"), None, name)
    return project / "models" / name


def kill_after(project, line: str, number: int) -> int:
    """Run the command, and end it by a signal once it has written `line`."""
    command = [sys.executable, "-m", "stages.cli", "bootstrap", "--from", "models/base"]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command, cwd=project, env=env, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        assert any(line in text for text in process.stderr)
        process.send_signal(number)
        process.wait(60)
    return process.returncode


@pytest.mark.stage
@pytest.mark.parametrize(
    ("lora", "number"),
    [
        pytest.param(None, signal.SIGKILL, id="full"),
        pytest.param(LORA, signal.SIGTERM, id="lora", marks=pytest.mark.slow),
    ],
)
def test_a_run_that_was_stopped_gives_the_weights_of_one_that_was_not(project, lora, number):
    write_params(project, settings(lora, 22))
    whole, unfinished = teach(project, "whole"), project / "models" / "finetuned.unfinished"
    kill_after(project, ": step 2 of 25", number)
    assert not (project / "models" / "finetuned").exists()
    assert list(unfinished.glob("step-*"))
    resumed = teach(project)
    assert file_hash(resumed / "model.safetensors") == file_hash(whole / "model.safetensors")
    assert not unfinished.exists()
    curves = [
        pl.read_csv(project / "curves" / f"{name}.csv").drop("seconds")
        for name in ("whole", "finetuned")
    ]
    assert curves[0].equals(curves[1])
    assert curves[0]["step"].to_list() == [20, 25]
    base = project / "models" / "base" / "model.safetensors"
    assert file_hash(resumed / "model.safetensors") != file_hash(base)


@pytest.mark.stage
def test_it_ends_once_its_aims_are_reached_in_the_last_phase_and_is_a_base(project):
    """The shipped model uses ideas already: the first measurement of the last phase ends it."""
    write_params(project, settings(until={"idea_gain": 0.01}, measure_every=1))
    folder = teach(project)
    curve = pl.read_csv(project / "curves" / "finetuned.csv")
    assert curve["step"].to_list() == [1, 2, 3, 4]
    assert curve["phase"].to_list() == ["facts"] * 3 + ["misconceptions"]
    assert (curve["right_with_idea"] > curve["right_without"]).all()
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "stages.cli", "base", str(folder)]
    subprocess.run(command, cwd=project, env=env, check=True, capture_output=True)
    assert pointer_file(project / "models" / "base").is_file()


@pytest.mark.stage
def test_an_adapter_that_is_kept_apart_merges_to_the_same_weights(project):
    pytest.importorskip("peft")
    write_params(project, settings(LORA, 1))
    merged = teach(project, "merged")
    write_params(project, settings(LORA | {"merge": False}, 1))
    adapter, whole = teach(project, "adapter"), project / "models" / "whole"
    assert not (adapter / "model.safetensors").exists()
    with pytest.raises(RosdError, match=r"adapter: an adapter, not a model; `rosd merge"):
        check_model(adapter)
    ran = CliRunner().invoke(app, ["merge", str(adapter), str(whole)])
    assert ran.exit_code == 0, ran.output
    assert file_hash(whole / "model.safetensors") == file_hash(merged / "model.safetensors")
    (project / "models" / "base").rename(project / "moved")
    elsewhere = ["--base", str(project / "moved")]
    (adapter / "tokenizer.json").unlink()  # many adapters have none; the base's is taken
    ran = CliRunner().invoke(app, ["merge", str(adapter), str(project / "other"), *elsewhere])
    assert ran.exit_code == 0, ran.output
    assert file_hash(project / "other" / "model.safetensors") == file_hash(
        whole / "model.safetensors"
    )
    tokenizers = [file_hash(project / n / "tokenizer.json") for n in ("other", "moved")]
    assert tokenizers[0] == tokenizers[1]


def test_merging_refuses_what_it_cannot_merge(project):
    base, there = project / "models" / "base", project / "there"
    with pytest.raises(RosdError, match="no adapter there"):
        merge_adapter(base, there, None)


@pytest.mark.stage
def test_other_settings_do_not_go_on_with_a_stopped_run(project):
    write_params(project, settings(last=12))
    kill_after(project, ": step 2 of 15", signal.SIGKILL)
    write_params(project, settings(last=12, weight_decay=0.5))
    with pytest.raises(RosdError, match=r"weight_decay = 0\.01; now it is 0\.5"):
        teach(project)
    write_params(project, settings(last=12, save_every=9))  # changes nothing that is learnt
    teach(project)


def test_it_overwrites_no_model(project):
    write_params(project, settings())
    for name in ("base", "i1"):
        with pytest.raises(RosdError, match=f"--to {name}: models/{name} is the project's own"):
            teach(project, name)
    (project / "models" / "mine").mkdir()
    with pytest.raises(RosdError, match="mine is there already"):
        teach(project, "mine")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"forget": {"carry": 0.0}}, "finetune.forget: no rule has a rate above 0"),
        ({"until": {"speed": 1.0}}, "finetune.until.speed"),
        ({"weight": 1}, "unknown key 'finetune.weight'"),
    ],
)
def test_params_that_teach_nothing_are_named(tmp_path, changes, message):
    with pytest.raises(RosdError, match=message):
        load_params(write_params(tmp_path, settings(**changes)))
