"""A long training that can be stopped at any moment and goes on from its last save.

Each save is a folder step-<number> of its own, which is complete once it has that name; the one
before is deleted only then.
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import polars as pl
import torch
from safetensors.torch import load_file, save_file

from rosd_core.distill.optimizer_state import STATE_FILE, load_state, state_tensors
from rosd_core.errors import RosdError
from rosd_core.tables.atomic import replacing_folder, write_json
from rosd_core.tables.io import write_csv

WEIGHTS_FILE, PROGRESS_FILE = "weights.safetensors", "progress.json"
CURVE_FILE = "curve.csv"
Named = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class Progress:
    """Steps done, seconds that they took, the losses since the last measurement, and all
    measurements.
    """

    step: int
    seconds: float
    losses: list[float]
    curve: list[dict[str, Any]]


def last_save(folder: Path) -> Path | None:
    """The newest complete save in `folder`."""
    return max(folder.glob("step-*"), default=None)


def save(
    folder: Path,
    trained: Named,
    optimizer: torch.optim.Optimizer,
    progress: Progress,
    begun: Mapping[str, Any],
) -> None:
    """Write the trained parameters, the optimizer's state and the progress. `begun` says what the
    training is, for `restore` to compare. The measurements so far are in curve.csv, too.
    """
    target = folder / f"step-{progress.step:07d}"
    with replacing_folder(target) as part:
        save_file(
            {name: p.detach().contiguous() for name, p in trained.items()}, part / WEIGHTS_FILE
        )
        state = state_tensors(optimizer, list(trained), progress.step)
        save_file(state, part / STATE_FILE)
        write_json(part / PROGRESS_FILE, asdict(progress) | {"begun": begun})
    if progress.curve:
        write_csv(pl.DataFrame(progress.curve), folder / CURVE_FILE, 6)
    for other in folder.iterdir():
        if other.is_dir() and other != target:
            shutil.rmtree(other)


def restore(
    saved: Path, trained: Named, optimizer: torch.optim.Optimizer, begun: Mapping[str, Any]
) -> Progress:
    """Put a save back into the parameters and the optimizer. Raises RosdError where it belongs to
    another training than `begun` says.
    """
    found = json.loads((saved / PROGRESS_FILE).read_text(encoding="utf-8"))
    before, now = found.pop("begun"), json.loads(json.dumps(begun))
    for key in sorted(before.keys() | now.keys()):
        if before.get(key) != now.get(key):
            raise RosdError(
                f"{saved.parent}: a run is stopped there after {found['step']} steps, with "
                f"{key} = {before.get(key)}; now it is {now.get(key)}. Put it back to go on, or "
                f"delete that folder to start again."
            )
    weights = load_file(saved / WEIGHTS_FILE)
    with torch.no_grad():
        for name, parameter in trained.items():
            parameter.copy_(weights[name])
    load_state(optimizer, list(trained), saved)
    return Progress(**found)
