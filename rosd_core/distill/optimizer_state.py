"""The optimizer's state in optimizers/<iteration>: the next iteration continues from it.

One file where a process held all of it; a file per process (`sharded_files`) where weights were
sharded. Either can be read with sharded weights or without, by any number of processes.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from rosd_core.distill.optimizers import STATES, put_state, state_of, step_placed
from rosd_core.distill.processes import process_number
from rosd_core.distill.sharded_files import (
    as_placed,
    first_bad,
    folder_of_all,
    is_sharded,
    read_shards,
    shard_files,
    stored_sizes,
    write_shards,
)
from rosd_core.errors import RosdError
from rosd_core.models.loading import readable
from rosd_core.tables.atomic import Publication

STATE_FILE, STEPS = "optimizer.safetensors", "steps"
Named = Mapping[str, torch.Tensor]


def state_tensors(
    optimizer: torch.optim.Optimizer, names: Sequence[str], steps: int
) -> dict[str, torch.Tensor]:
    """The state as tensors named `state/parameter`, and the number of steps so far; `load_state`
    reads them back.
    """
    tensors = {STEPS: torch.tensor(steps)}
    for name, parameter in zip(names, optimizer.param_groups[0]["params"], strict=True):
        for key, value in state_of(optimizer, parameter):
            tensors[f"{key}/{name}"] = value.contiguous()
    return tensors


def write_state(state: Named, folder: Path) -> None:
    """Into a folder that is there; with sharded tensors every process calls it, else the first."""
    if is_sharded(state.values()):
        write_shards(state, folder)
    elif process_number() == 0:
        save_file(dict(state), folder / STATE_FILE)


def save_state(
    state: Named, merged: bool, folder: Path, together: Publication | None = None
) -> None:
    """Write what the next iteration can use: of a merged adapter, the number of steps alone. Every
    process calls it.
    """
    kept = {STEPS: state[STEPS]} if merged else state
    if is_sharded(kept.values()) or process_number() == 0:
        with folder_of_all(folder, together, is_sharded(kept.values())) as target:
            write_state(kept, target)


def state_files(folder: Path) -> list[Path]:
    """The files of a state; none where there is no state."""
    single = folder / STATE_FILE
    return [single] if single.is_file() else shard_files(folder)


def load_state(optimizer: torch.optim.Optimizer, names: Sequence[str], folder: Path | None) -> int:
    """Restore the tensors of `state_tensors` and return the number of steps done before; without a
    folder nothing is restored, and that number is 0.

    A file with the number of steps alone is that of a merged adapter: the next adapter continues
    the learning-rate schedule with an optimizer of its own. Raises RosdError where the folder
    holds no state, that of other parameters or of another optimizer, or a value that is not finite.
    """
    if folder is None:
        return 0
    file = folder / STATE_FILE
    if not state_files(folder):
        raise RosdError(
            f"{file}: no optimizer state there; run `rosd distill {folder.name}` again, which "
            "writes it beside the model."
        )
    parameters = dict(zip(names, optimizer.param_groups[0]["params"], strict=True))
    file = file if file.is_file() else folder
    with readable(file, "the optimizer's state"):
        tensors = _read(file, parameters)
        steps = int(tensors.pop(STEPS))
    if not tensors:
        return steps
    if bad := first_bad(tensors.items()):
        raise RosdError(
            f"{file}: {bad} is infinite or not a number; the training that wrote it diverged. Run "
            f"`rosd distill {folder.name}` again, with a lower distill.learning_rate."
        )
    _refuse_other_optimizer(optimizer, tensors, file)
    for name, parameter in parameters.items():
        keys = [key for key in tensors if key.split("/", 1)[1] == name]
        if not keys:
            raise RosdError(
                f"{file}: holds no state of parameter {name}; it belongs to another model, or "
                "distill.lora has changed since: run the iterations before with it too."
            )
        state = {key.split("/", 1)[0]: tensors[key] for key in keys}
        state = {
            key: step_placed(optimizer, value, parameter)
            if key == "step"
            else as_placed(value, parameter)
            for key, value in state.items()
        }
        put_state(optimizer, parameter, state)
    return steps


def _read(file: Path, parameters: Named) -> dict[str, torch.Tensor]:
    """All tensors of a file; of a folder of shards, those as large as their parameter are sharded
    as it is.
    """
    if file.is_file():
        return load_file(file)
    tensors = {}
    for key, size in stored_sizes(file).items():
        parameter = parameters.get(key.split("/", 1)[-1])
        if parameter is not None and parameter.shape == size:
            tensors[key] = torch.zeros_like(parameter)
        else:
            count = torch.int64 if key == STEPS else torch.float32
            tensors[key] = torch.zeros(size, dtype=count)
    read_shards(file, tensors)
    return tensors


def _refuse_other_optimizer(optimizer: torch.optim.Optimizer, tensors: Named, file: Path) -> None:
    odd = {key.split("/", 1)[0] for key in tensors} - STATES[type(optimizer).__name__]
    if odd:
        raise RosdError(
            f"{file}: holds {', '.join(sorted(odd))} of another optimizer; distill.optimizer has "
            "changed since. Put it back, or run the iterations before with this one too."
        )
