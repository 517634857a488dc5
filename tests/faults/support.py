"""What the fault tests share: a scored project, changed copies of it, the real command."""

import shutil
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner, Result

from stages.cli import app
from tests.support import ROOT, SMALL, run_stage, write_params

Change = Callable[[str, torch.Tensor], torch.Tensor]


def rosd(project: Path, *args: str) -> Result:
    """The command, in this process."""
    return CliRunner().invoke(app, [*args, "--params", str(project / "params.yaml")])


def settings(project: Path, **sections: dict) -> None:
    """Small params with these values changed, for a loop of two iterations."""
    loop = {"i1": {"start": "base"}, "i2": {"start": "i1"}}
    changed = {name: SMALL.get(name, {}) | values for name, values in sections.items()}
    write_params(project, SMALL | {"loop": loop} | changed)


def make_scored(folder: Path) -> Path:
    """A project whose first iteration is scored."""
    settings(folder)
    shutil.copytree(ROOT / "models" / "base", folder / "models" / "base")
    run_stage(folder, "prepare")
    for stage in ("rollout", "reflect", "align", "score"):
        run_stage(folder, stage, "i1")
    return folder


def change_weights(project: Path, model: str, change: Change) -> None:
    """models/<model>: the base model with `change(name, tensor)` in place of each weight."""
    base, folder = project / "models" / "base", project / "models" / model
    if folder != base:
        shutil.copytree(base, folder)
    weights = load_file(base / "model.safetensors")
    changed = {name: change(name, tensor) for name, tensor in weights.items()}
    save_file(changed, folder / "model.safetensors", {"format": "pt"})
