"""Saves of a training that may be stopped at any moment and goes on from the last one.

Each save is a folder step-<number> of its own, which is complete once it has that name; the one
before is deleted only then.
"""

import json
import shutil
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from rosd_core.distill.optimizer_state import load_state, state_tensors, write_state
from rosd_core.distill.processes import process_number
from rosd_core.distill.sharded_files import folder_of_all, is_sharded, read_shards, write_shards
from rosd_core.distill.step_log import StepLog
from rosd_core.models.loading import readable
from rosd_core.tables.atomic import write_json

WEIGHTS_FILE, PROGRESS_FILE = "weights.safetensors", "progress.json"
SHARDED_WEIGHTS, SHARDED_STATE = "weights", "optimizer"  # folders, where weights are sharded
Named = Mapping[str, torch.Tensor]


def last_save(folder: Path) -> Path | None:
    """The newest complete save in `folder`."""
    return max(folder.glob("step-*"), default=None)


def save(
    folder: Path,
    step: int,
    trained: Named,
    optimizer: torch.optim.Optimizer,
    progress: Mapping[str, Any],
) -> None:
    """Write the trained parameters, the optimizer's state and the progress after `step` steps. With
    sharded parameters every process calls it, else the first one.
    """
    target, sharded = folder / f"step-{step:07d}", is_sharded(trained.values())
    state = state_tensors(optimizer, list(trained), step)
    with folder_of_all(target, None, sharded) as part:
        if sharded:
            write_shards({n: p.detach() for n, p in trained.items()}, part / SHARDED_WEIGHTS)
        else:
            weights = {name: p.detach().contiguous() for name, p in trained.items()}
            save_file(weights, part / WEIGHTS_FILE)
        write_state(state, part / SHARDED_STATE if sharded else part)
        if process_number() == 0:
            write_json(part / PROGRESS_FILE, progress)
    for other in folder.iterdir() if process_number() == 0 else ():
        if other.is_dir() and other != target:
            shutil.rmtree(other)


def read_progress(saved: Path) -> dict[str, Any]:
    """What `save` was told about the progress."""
    with readable(saved, PROGRESS_FILE):
        return json.loads((saved / PROGRESS_FILE).read_text(encoding="utf-8"))


def restore(saved: Path, trained: Named, optimizer: torch.optim.Optimizer) -> None:
    """Put a save back into the parameters and the optimizer, sharded as the parameters are."""
    sharded = (saved / SHARDED_WEIGHTS).is_dir()
    if sharded:
        with readable(saved, SHARDED_WEIGHTS):
            read_shards(saved / SHARDED_WEIGHTS, {n: p.detach() for n, p in trained.items()})
    else:
        with readable(saved, WEIGHTS_FILE):
            weights = load_file(saved / WEIGHTS_FILE)
        with torch.no_grad():
            for name, parameter in trained.items():
                parameter.copy_(weights[name])
    load_state(optimizer, list(trained), saved / SHARDED_STATE if sharded else saved)


@dataclass(frozen=True)
class Saves:
    """Where an epoch begins: the optimizer's state of the iteration before in the folder `start`
    (None: a new one), or, in `folder`, what an epoch of the same inputs had done when it was
    stopped. `every` steps the first process saves, or with
    sharded weights all do; None: never.
    """

    start: Path | None
    folder: Path
    every: int | None
    writes: bool

    def begin(self, trained: Named, optimizer: torch.optim.Optimizer) -> tuple[int, list[StepLog]]:
        """The number of steps before this epoch, and the logs of the steps that are done in it."""
        before = load_state(optimizer, list(trained), self.start)
        saved = last_save(self.folder)
        if saved is None:
            return before, []
        restore(saved, trained, optimizer)
        logs = [StepLog(**log) for log in read_progress(saved)["logs"]]
        if self.writes:
            print(f"distill: goes on after {len(logs)} steps", file=sys.stderr, flush=True)
        return before, logs

    def step(
        self, trained: Named, optimizer: torch.optim.Optimizer, step: int, logs: list[StepLog]
    ) -> None:
        """Save if it is time to; `step` steps are done in all, `logs` are those of this epoch."""
        writes = self.writes or is_sharded(trained.values())
        if writes and self.every is not None and len(logs) % self.every == 0:
            progress = {"logs": [asdict(log) for log in logs]}
            save(self.folder, step, trained, optimizer, progress)
