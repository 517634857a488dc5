"""Several processes that train together (torchrun): joining, sharing out batches, summing."""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import torch
import torch.distributed

Item = TypeVar("Item")


@contextmanager
def processes(device: str) -> Iterator[tuple[str, bool]]:
    """Join the processes that torchrun started, if it did. Yields the device of this one and
    whether it is the first, which writes.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield device, True
        return
    backend = "gloo"
    if device == "cuda":
        device, backend = f"cuda:{os.environ['LOCAL_RANK']}", "cpu:gloo,cuda:nccl"
        torch.cuda.set_device(device)
    torch.distributed.init_process_group(backend)
    try:
        yield device, process_number() == 0
    finally:
        torch.distributed.destroy_process_group()


def process_number() -> int:
    return torch.distributed.get_rank() if torch.distributed.is_initialized() else 0


def share_of_process(items: Sequence[Item]) -> Sequence[Item]:
    """The items of this process; all of them where it is alone."""
    if not torch.distributed.is_initialized():
        return items
    return items[process_number() :: torch.distributed.get_world_size()]


def sum_over_processes(tensors: Iterable[torch.Tensor]) -> None:
    """Add up in place over the processes, where there are several."""
    if torch.distributed.is_initialized():
        for tensor in tensors:
            torch.distributed.all_reduce(tensor)


def largest_over_processes(tensor: torch.Tensor) -> None:
    """The elementwise maximum over the processes, in place."""
    if torch.distributed.is_initialized():
        torch.distributed.all_reduce(tensor, torch.distributed.ReduceOp.MAX)
