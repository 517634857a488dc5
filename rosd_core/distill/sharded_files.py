"""Tensors that are sharded over processes, in files that any number of processes can read.

Every process writes its parts to a file of its own (torch.distributed.checkpoint, safetensors), and
reads the parts that it needs from all of them. Nothing is unpickled.
"""

import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.hf_storage import (
    HuggingFaceStorageReader,
    HuggingFaceStorageWriter,
)
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save
from torch.distributed.tensor import DTensor, distribute_tensor

from rosd_core.distill.processes import (
    from_first,
    process_count,
    process_number,
    sum_over_processes,
)
from rosd_core.errors import RosdError
from rosd_core.models.finite import first_not_finite, values_not_finite
from rosd_core.tables.atomic import Publication, replacing_folder

Named = Mapping[str, torch.Tensor]
OF = "shard/"  # each file holds a tensor `shard/<its number>`: how many files there are


def is_sharded(tensors: Iterable[torch.Tensor]) -> bool:
    """Whether a process holds a part of them only."""
    return any(isinstance(tensor, DTensor) for tensor in tensors)


@contextmanager
def folder_of_all(path: Path, together: Publication | None, sharded: bool) -> Iterator[Path]:
    """As `replacing_folder`; where tensors are sharded, for all processes: the first one makes the
    folder and names it.
    """
    first = process_number() == 0
    with replacing_folder(path, together) if first else nullcontext(path) as part:
        yield from_first(part) if sharded else part


def write_shards(tensors: Named, folder: Path) -> None:
    """Write this process's parts; every process calls it, and it returns when all have written."""
    writer = HuggingFaceStorageWriter(str(folder), save_distributed=True)
    own = {f"{OF}{process_number()}": torch.tensor(process_count())}
    with _own_error():
        save({**tensors, **own}, storage_writer=writer)


def shard_files(folder: Path) -> list[Path]:
    """The files that `write_shards` wrote."""
    return sorted(folder.glob("shard-*.safetensors"))


def stored_sizes(folder: Path) -> dict[str, torch.Size]:
    """The tensors in a folder and their sizes. Raises RosdError where a file is missing."""
    _refuse_missing_files(folder)
    found: Any = HuggingFaceStorageReader(str(folder)).read_metadata().state_dict_metadata
    return {name: entry.size for name, entry in found.items() if not name.startswith(OF)}


def _refuse_missing_files(folder: Path) -> None:
    numbers, count = set(), 0
    for file in shard_files(folder):
        with safe_open(file, "pt") as tensors:
            for name in (n for n in tensors.keys() if n.startswith(OF)):  # noqa: SIM118
                numbers.add(int(name.removeprefix(OF)))
                count = int(tensors.get_tensor(name))
    if not count or numbers != set(range(count)):
        raise RosdError(
            f"{folder}: {len(numbers)} of {count or 'the'} files are there; copy all of them: each "
            "process wrote one."
        )


def read_shards(folder: Path, into: Named) -> None:
    """Fill these tensors, each with the parts that this process holds of it. Raises RosdError where
    one has another size there, or is missing.
    """
    sizes = stored_sizes(folder)
    for name, tensor in into.items():
        if sizes.get(name) != tensor.shape:
            raise RosdError(
                f"{folder}: {name} has the size {list(sizes.get(name, []))} there, and "
                f"{list(tensor.shape)} here; it belongs to another model."
            )
    alone = not torch.distributed.is_initialized()
    with _own_error(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.distributed is disabled")
        reader = HuggingFaceStorageReader(str(folder))
        load(dict(into), storage_reader=reader, no_dist=alone)


def as_placed(value: torch.Tensor, parameter: torch.Tensor) -> torch.Tensor:
    """A whole tensor of a parameter's size where the parameter is, and sharded as that."""
    if not isinstance(parameter, DTensor) or value.shape != parameter.shape:
        return value.to(parameter.device)
    mesh, device = parameter.device_mesh, parameter.device
    whole = value.to(mesh.device_type)
    return distribute_tensor(whole, mesh, parameter.placements, src_data_rank=None).to(device)


def first_bad(tensors: Iterable[tuple[str, torch.Tensor]]) -> str | None:
    """As `first_not_finite`, over the parts of all processes: every one has the same answer."""
    named = [(name, tensor) for name, tensor in tensors if tensor.is_floating_point()]
    if not is_sharded(tensor for _, tensor in named):
        return first_not_finite(named)
    counts = torch.tensor([_own_bad(tensor) for _, tensor in named])
    sum_over_processes([counts])
    for (name, tensor), bad in zip(named, counts.tolist(), strict=True):
        if bad:
            return f"{name} ({bad} of {tensor.numel()} values)"
    return None


def _own_bad(tensor: torch.Tensor) -> int:
    """How many values are not finite, of those that this process counts."""
    if isinstance(tensor, DTensor):
        tensor = tensor.to_local()
    elif process_number() != 0:  # every process has it
        return 0
    return values_not_finite(tensor)


@contextmanager
def _own_error() -> Iterator[None]:
    """Raise what went wrong in a process in place of the collection of all tracebacks."""
    try:
        yield
    except CheckpointException as error:
        raise next(iter(error.failures.values()))[0] from None
