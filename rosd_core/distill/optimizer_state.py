"""The optimizer's state as part of models/<iteration>: the next iteration continues from it."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file

from rosd_core.errors import RosdError

STATE_FILE, STEPS = "optimizer.safetensors", "steps"


def state_tensors(
    optimizer: torch.optim.Optimizer, names: Sequence[str], steps: int
) -> dict[str, torch.Tensor]:
    """The state as tensors named `state/parameter`, and the number of steps so far; `load_state`
    reads them back.
    """
    tensors = {STEPS: torch.tensor(steps)}
    for name, parameter in zip(names, optimizer.param_groups[0]["params"], strict=True):
        for key, value in optimizer.state[parameter].items():
            tensors[f"{key}/{name}"] = value.contiguous()
    return tensors


def state_to_save(state: Mapping[str, torch.Tensor], merged: bool) -> dict[str, torch.Tensor]:
    """What the next iteration can use: of a merged adapter, the number of steps alone."""
    return {STEPS: state[STEPS]} if merged else dict(state)


def load_state(optimizer: torch.optim.Optimizer, names: Sequence[str], folder: Path | None) -> int:
    """Restore the tensors of `state_tensors` and return the number of steps done before; 0 where
    there is no state.

    A file with the number of steps alone is that of a merged adapter: the next adapter continues
    the learning-rate schedule with an optimizer of its own. Raises RosdError for a state of other
    parameters.
    """
    file = None if folder is None else folder / STATE_FILE
    if file is None or not file.exists():
        return 0
    tensors = load_file(file)
    steps = int(tensors.pop(STEPS, 0))
    if not tensors:
        return steps
    for name, parameter in zip(names, optimizer.param_groups[0]["params"], strict=True):
        keys = [key for key in tensors if key.split("/", 1)[1] == name]
        if not keys:
            raise RosdError(
                f"{file}: holds no state of parameter {name}; it belongs to another model, or "
                "distill.lora has changed since: run the iterations before with it too."
            )
        state = {key.split("/", 1)[0]: tensors[key] for key in keys}
        optimizer.state[parameter] = {  # AdamW counts its steps on the CPU
            key: value if key == "step" else value.to(parameter.device)
            for key, value in state.items()
        }
    return steps
