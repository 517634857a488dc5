"""The optimizers of `distill.optimizer`, and their state as plain tensors.

Bytes of state per parameter: adamw 8, adamw_8bit about 2, adafactor nearly none (a matrix keeps the
mean square of each row and column).
"""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch.distributed.tensor import DTensor

from rosd_core.errors import RosdError

Optimizer = torch.optim.Optimizer
Settings = dict[str, Any]

# the state of each class by its names
MOMENTS = {"step", "exp_avg", "exp_avg_sq"}
STATES = {"AdamW": MOMENTS, "AdamW8bit": MOMENTS,
          "Adafactor": {"step", "row_var", "col_var", "variance"}}  # fmt: skip


def new_optimizer(
    name: str,
    parameters: Sequence[torch.Tensor],
    learning_rate: float,
    betas: tuple[float, float],
    weight_decay: float,
) -> Optimizer:
    """An optimizer of these parameters. Adafactor (arXiv 1804.04235) has no betas, and its learning
    rate is relative: a matrix moves by learning_rate times its root mean square. Raises RosdError
    where the library of adamw_8bit is not installed.
    """
    if name == "adafactor":
        return torch.optim.Adafactor(parameters, lr=learning_rate, weight_decay=weight_decay)
    make: Any = partial(torch.optim.AdamW, fused=True) if name == "adamw" else _adamw_8bit()
    return make(list(parameters), lr=learning_rate, betas=betas, weight_decay=weight_decay)


def _adamw_8bit() -> Any:
    try:
        from torchao.optim import AdamW8bit  # pyright: ignore[reportMissingImports] (an extra)
    except ImportError:
        raise RosdError(
            "distill.optimizer: adamw_8bit needs torchao: pip install -e '.[int8]'."
        ) from None
    return AdamW8bit


def set_rate(optimizer: Optimizer, rate: float) -> None:
    """The learning rate of the next update; torchao keeps it as a tensor."""
    group = optimizer.param_groups[0]
    if isinstance(group["lr"], torch.Tensor):
        group["lr"].fill_(rate)
    else:
        group["lr"] = rate


def update(optimizer: Optimizer) -> None:
    """One update of the parameters. torchao compiles its own for every shape: on a CPU, where that
    takes a minute and a C++ compiler, it runs as it is written.
    """
    parameter = optimizer.param_groups[0]["params"][0]
    if type(optimizer).__name__ == "AdamW8bit" and parameter.device.type == "cpu":
        with torch.compiler.set_stance("force_eager"):
            optimizer.step()
    else:
        optimizer.step()


def state_of(optimizer: Optimizer, parameter: torch.Tensor) -> Iterator[tuple[str, torch.Tensor]]:
    """The state of a parameter by its names; what is kept in 8 bits is given in fp32."""
    for key, value in optimizer.state[parameter].items():
        if value is None:  # a matrix has no variance with adafactor, a vector no row_var
            continue
        if isinstance(value, DTensor) and _is_8bit(value.to_local()):
            whole: Any = value.to_local()
            made = DTensor.from_local(
                whole.dequantize(), value.device_mesh, value.placements, run_check=False,
                shape=value.shape, stride=value.stride(),
            )  # fmt: skip
            yield key, made.to(value.device)  # offloaded: from_local moves it to the mesh's device
        elif _is_8bit(value):
            yield key, value.dequantize()
        else:
            yield key, value


def _is_8bit(value: torch.Tensor) -> bool:
    """Whether torchao keeps it in 8 bits."""
    return type(value).__name__ == "OptimState8bit"


def step_placed(optimizer: Optimizer, step: torch.Tensor, parameter: torch.Tensor) -> torch.Tensor:
    """A parameter's count of steps where its optimizer reads it: on the CPU, or by AdamW's kernel
    (`fused`) on the parameter's device.
    """
    return step.to(parameter.device) if optimizer.param_groups[0].get("fused") else step


def put_state(
    optimizer: Optimizer, parameter: torch.Tensor, state: dict[str, torch.Tensor]
) -> None:
    """Give a parameter its state back, with tensors placed as the parameter is; 8 bits round it."""
    if type(optimizer).__name__ == "AdamW8bit":
        new: Any = optimizer
        for key in ("exp_avg", "exp_avg_sq"):
            buffer = new._new_buffer(parameter, signed=key == "exp_avg")
            buffer.copy_(state[key])
            state = state | {key: buffer}
    optimizer.state[parameter] = state
