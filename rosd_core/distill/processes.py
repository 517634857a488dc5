"""Several processes that train together (torchrun): joining, sharing out batches, summing."""

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from rosd_core.errors import RosdError

Item = TypeVar("Item")
WAIT = timedelta(minutes=30)  # for the others, at most: as long as the first one writes a save


@contextmanager
def processes(device: str, alone_too: bool = False) -> Iterator[tuple[str, bool]]:
    """Join the processes that torchrun started, if it did; `alone_too` makes a group of one process
    where it did not, since sharded weights need a group. Yields the device of this process and
    whether it is the first, which writes.

    Raises RosdError for a GPU that is not there, and where another process has ended.
    """
    several = int(os.environ.get("WORLD_SIZE", "1")) > 1
    if not several and not alone_too:
        yield device, True
        return
    device, backend = own_device(device), "gloo"
    if device != "cpu":
        torch.cuda.set_device(device)
        backend = "cpu:gloo,cuda:nccl"
    store = torch.distributed.HashStore()  # pyright: ignore[reportPrivateImportUsage] (documented)
    alone: dict[str, Any] = {"store": store, "rank": 0, "world_size": 1}
    with _others_alive():
        torch.distributed.init_process_group(backend, timeout=WAIT, **({} if several else alone))
        try:
            yield device, process_number() == 0
        except BaseException:
            # to destroy a group of NCCL would wait for the others: this process just ends
            if not several or device == "cpu":
                torch.distributed.destroy_process_group()
            raise
        torch.distributed.destroy_process_group()


def own_device(device: str) -> str:
    """The device of this process: each has a GPU of its own. Raises RosdError without one."""
    if device != "cuda":
        return device
    gpus, number = torch.cuda.device_count(), int(os.environ.get("LOCAL_RANK", "0"))
    if not gpus:
        raise RosdError("machine.device = 'cuda', but torch sees no GPU. Set machine.device: cpu.")
    if number >= gpus:
        raise RosdError(
            f"process {number} of this machine has no GPU, torch sees {gpus}: start torchrun with "
            f"--nproc-per-node {gpus} at most."
        )
    return f"cuda:{number}"


@contextmanager
def _others_alive() -> Iterator[None]:
    """Turn what gloo, NCCL or the store raise when a peer is gone into one message."""
    try:
        yield
    except RuntimeError as error:
        text = str(error)
        if isinstance(error, torch.distributed.DistError) or "gloo" in text or "NCCL" in text:
            told = text.splitlines()[0][:200] if text else type(error).__name__
            raise RosdError(
                f"process {os.environ.get('RANK', '0')} has lost another one, which has ended or "
                f"did not answer within {WAIT.total_seconds() / 60:.0f} minutes ({told}). torchrun "
                "says which: its root cause. The steps up to the last save are kept; run it again."
            ) from None
        raise


def device_mesh() -> DeviceMesh:
    """All processes in a row, on their GPUs where they have joined with NCCL."""
    kind = "cuda" if "nccl" in torch.distributed.get_backend_config() else "cpu"
    return init_device_mesh(kind, (torch.distributed.get_world_size(),))


def process_number() -> int:
    return torch.distributed.get_rank() if torch.distributed.is_initialized() else 0


def process_count() -> int:
    return torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1


def refuse_other_inputs(told: Mapping[str, Any]) -> None:
    """Compare what the processes were started with. Raises RosdError where they differ: in the
    first process with what differs and where, in the others SystemExit, so that it is said once.
    """
    if process_count() == 1:
        return
    own = {name: json.dumps(value, sort_keys=True, default=str) for name, value in told.items()}
    all_told: list[Any] = [None] * process_count()
    torch.distributed.all_gather_object(all_told, own)
    first = all_told[0]
    for number, other in enumerate(all_told):
        odd = [n for n in sorted(first.keys() | other.keys()) if first.get(n) != other.get(n)]
        if odd and process_number() == 0:
            more = f" ({len(odd) - 1} more differ)" if len(odd) > 1 else ""
            raise RosdError(
                f"the processes do not train the same: {odd[0]} is {_short(first.get(odd[0]))} in "
                f"process 0, but {_short(other.get(odd[0]))} in process {number}{more}. Start all "
                "of them with the same params.yaml, code and files."
            )
        if odd:
            raise SystemExit(1)


def _short(text: str | None) -> str:
    text = "not there" if text is None else text
    return text if len(text) <= 60 else f"{text[:57]}..."


def from_first(value: Item) -> Item:
    """What the first process has; every process calls it."""
    if process_count() == 1:
        return value
    held = [value]
    torch.distributed.broadcast_object_list(held)
    return held[0]


def share_of_process(items: Sequence[Item]) -> Sequence[Item]:
    """The items of this process; all of them where it is alone."""
    return items[process_number() :: process_count()]


def sum_over_processes(tensors: Iterable[torch.Tensor]) -> None:
    """Add up in place over the processes, where there are several."""
    if torch.distributed.is_initialized():
        for tensor in tensors:
            torch.distributed.all_reduce(tensor)


def largest_over_processes(tensor: torch.Tensor) -> None:
    """The elementwise maximum over the processes, in place."""
    if torch.distributed.is_initialized():
        torch.distributed.all_reduce(tensor, torch.distributed.ReduceOp.MAX)
