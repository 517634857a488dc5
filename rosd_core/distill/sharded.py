"""The loss of a batch as a module, and its parameters sharded over the processes (FSDP2).

The loss reads the head's matrix and the hidden states, not the model's own output. So the module
that FSDP gathers parameters for is not the model but this one: embedding, final norm and head are
whole from the start of its forward pass to the end of the backward pass, a decoder layer while it
runs. Gradients are summed over the processes, since the loss is divided by all tokens already.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import torch
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import (
    CPUOffloadPolicy,
    FSDPModule,
    MixedPrecisionPolicy,
    OffloadPolicy,
    fully_shard,
)
from torch.distributed.tensor import DTensor
from transformers import PreTrainedModel

from rosd_core.distill.batch_loss import batch_loss
from rosd_core.distill.processes import device_mesh, process_number
from rosd_core.distill.step_log import Ratios
from rosd_core.distill.targets import Batch, Objective
from rosd_core.errors import RosdError
from rosd_core.losses.head import Head
from rosd_core.models.loading import low_precision
from rosd_core.models.student import Student


class BatchLoss(torch.nn.Module):
    """`batch_loss` of a model, under autocast where that is wanted."""

    def __init__(
        self, model: PreTrainedModel, objective: Objective, pad_id: int, autocast: str
    ) -> None:
        super().__init__()
        self.model, self.objective, self.pad_id = model, objective, pad_id
        self.autocast = autocast

    def forward(self, batch: Batch, scale: float = 1.0) -> tuple[torch.Tensor, Ratios]:
        with low_precision(self.model.device.type, self.autocast):
            return batch_loss(self.model, batch, self.objective, self.pad_id, scale)


def shard(root: BatchLoss, offload: bool) -> None:
    """Shard the model's parameters, and those of a teacher that runs beside it, over the processes;
    a process keeps 1/n of each. With bfloat16 autocast a layer's parameters are gathered in bf16,
    gradients are summed in fp32. `offload`: parameters, gradients and the optimizer's state lie in
    the CPU's memory, and a layer is copied to the GPU while it runs.

    The head is gathered in fp32, since its gradient is summed over chunks and batches. Raises
    RosdError for a model without decoder layers.
    """
    mesh, teacher = device_mesh(), root.objective.teacher
    if teacher is not None:
        bias_V = None if teacher.head.bias_V is None else teacher.head.bias_V.to(mesh.device_type)
        head = Head(teacher.head.matrix_VH.detach().to(mesh.device_type), bias_V)
        for part in () if teacher.live is None else teacher.live.parts:
            if part.model is not root.model:  # not the student itself without its adapter
                _shard_layers(part.model, mesh, root.autocast, OffloadPolicy())
                fully_shard(cast(Any, part.model.base_model), mesh=mesh, reshard_after_forward=True)
        root.objective = replace(root.objective, teacher=replace(teacher, head=head))
    pinned = mesh.device_type == "cuda"
    policy = CPUOffloadPolicy(pin_memory=pinned) if offload else OffloadPolicy()
    _shard_layers(root.model, mesh, root.autocast, policy)
    own = MixedPrecisionPolicy(cast_forward_inputs=False)
    fully_shard(root, mesh=mesh, mp_policy=own, offload_policy=policy)
    for module in root.modules():
        if isinstance(module, FSDPModule):
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)  # gloo has no other


def _shard_layers(
    model: PreTrainedModel, mesh: DeviceMesh, autocast: str, offload: OffloadPolicy
) -> None:
    kinds = set(getattr(model, "_no_split_modules", None) or ())
    layers = [module for module in model.modules() if type(module).__name__ in kinds]
    if not layers:
        raise RosdError(
            f"distill.sharding: fsdp: transformers names no decoder layers of "
            f"{model.config.model_type} that could be sharded; set distill.sharding: none."
        )
    low = None if autocast == "none" else getattr(torch, autocast)
    # inputs stay as autocast left them: the residual stream is fp32 with it
    policy = MixedPrecisionPolicy(low, torch.float32, cast_forward_inputs=False)
    for layer in layers:
        fully_shard(layer, mesh=mesh, mp_policy=policy, offload_policy=offload)


def release(root: torch.nn.Module) -> None:
    """Shard again what a forward pass without a backward pass has left whole."""
    if isinstance(root, FSDPModule):
        root.reshard()


@torch.no_grad()
def whole_student(student: Student, opened: Callable[[], Student]) -> Student:
    """In the first process, a student that is not sharded, on the CPU: opened again by `opened`,
    with the trained parameters copied into it one after the other. In the others, and where nothing
    is sharded, the student itself. Every process calls it.
    """
    trained = [(name, p) for name, p in student.model.named_parameters() if p.requires_grad]
    if not any(isinstance(p, DTensor) for _, p in trained):
        return student
    whole = opened() if process_number() == 0 else None
    into = dict(whole.model.named_parameters()) if whole is not None else {}
    for name, parameter in trained:
        part = cast(DTensor, parameter.detach())
        tensor = cast(DTensor, part.to(part.device_mesh.device_type)).full_tensor()
        if whole is not None:
            into[name].copy_(tensor)
    return student if whole is None else whole
