"""The progress of teaching a model the pocket world, saved and taken up again."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import polars as pl
import torch

from rosd_core.distill import checkpoint
from rosd_core.distill.checkpoint import Named
from rosd_core.errors import RosdError
from rosd_core.tables.io import write_csv

CURVE_FILE = "curve.csv"


@dataclass(frozen=True)
class Progress:
    """Steps done, seconds that they took, the losses since the last measurement, and all
    measurements.
    """

    step: int
    seconds: float
    losses: list[float]
    curve: list[dict[str, Any]]


def save(
    folder: Path,
    trained: Named,
    optimizer: torch.optim.Optimizer,
    progress: Progress,
    begun: Mapping[str, Any],
) -> None:
    """Save the training. `begun` says what it is, for `restore` to compare. The measurements so far
    are in curve.csv, too.
    """
    told = asdict(progress) | {"begun": begun}
    checkpoint.save(folder, progress.step, trained, optimizer, told)
    if progress.curve:
        write_csv(pl.DataFrame(progress.curve), folder / CURVE_FILE, 6)


def restore(
    saved: Path, trained: Named, optimizer: torch.optim.Optimizer, begun: Mapping[str, Any]
) -> Progress:
    """Put a save back into the parameters and the optimizer. Raises RosdError where it belongs to
    another training than `begun` says.
    """
    found = checkpoint.read_progress(saved)
    before, now = found.pop("begun"), json.loads(json.dumps(begun))
    for key in sorted(before.keys() | now.keys()):
        if before.get(key) != now.get(key):
            raise RosdError(
                f"{saved.parent}: a run is stopped there after {found['step']} steps, with "
                f"{key} = {before.get(key)}; now it is {now.get(key)}. Put it back to go on, or "
                f"delete that folder to start again."
            )
    checkpoint.restore(saved, trained, optimizer)
    return Progress(**found)
