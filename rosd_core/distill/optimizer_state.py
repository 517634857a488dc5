"""The optimizer's state in optimizers/<iteration>: the next iteration continues from it."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from rosd_core.errors import RosdError
from rosd_core.models.finite import first_not_finite
from rosd_core.models.loading import readable
from rosd_core.tables.atomic import Publication, replacing_folder

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


def save_state(
    state: Mapping[str, torch.Tensor],
    merged: bool,
    folder: Path,
    together: Publication | None = None,
) -> None:
    """Write what the next iteration can use: of a merged adapter, the number of steps alone."""
    with replacing_folder(folder, together) as target:
        save_file({STEPS: state[STEPS]} if merged else dict(state), target / STATE_FILE)


def load_state(optimizer: torch.optim.Optimizer, names: Sequence[str], folder: Path | None) -> int:
    """Restore the tensors of `state_tensors` and return the number of steps done before; without a
    folder nothing is restored, and that number is 0.

    A file with the number of steps alone is that of a merged adapter: the next adapter continues
    the learning-rate schedule with an optimizer of its own. Raises RosdError where the folder
    holds no state, that of other parameters, or a value that is not finite.
    """
    if folder is None:
        return 0
    file = folder / STATE_FILE
    if not file.is_file():
        raise RosdError(
            f"{file}: no optimizer state there; run `rosd distill {folder.name}` again, which "
            "writes it beside the model."
        )
    with readable(file, "the optimizer's state"):
        tensors = load_file(file)
        steps = int(tensors.pop(STEPS))
    if not tensors:
        return steps
    if bad := first_not_finite(tensors.items()):
        raise RosdError(
            f"{file}: {bad} is infinite or not a number; the training that wrote it diverged. Run "
            f"`rosd distill {folder.name}` again, with a lower distill.learning_rate."
        )
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
