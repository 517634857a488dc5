"""Where the shards of a stage are worked on: in this process, or on Ray workers."""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any

from rosd_core.tables.progress import Report

Shard = Sequence[Any]
Work = Callable[[Shard], Sequence[Any]]  # the rows of a shard
Opened = Callable[[Report], Work]  # opens the models that the work needs; picklable


@dataclass(frozen=True)
class Workers:
    """How many workers, on which Ray cluster, and what each of them needs. 1: this process."""

    count: int = 1
    address: str = "local"
    threads: int = 1
    gpus: int = 0


def results(
    opened: Opened, shards: Sequence[Shard], workers: Workers, report: Report
) -> Generator[Sequence[Any], None, None]:
    """The rows of every shard, in the order of the shards, whoever worked on them. In this process
    the models are opened before it returns.
    """
    if workers.count > 1:
        from rosd_core.workers.ray_pool import ray_results

        return ray_results(opened, shards, workers)
    return _in_order(opened(report), shards)


def _in_order(work: Work, shards: Sequence[Shard]) -> Generator[Sequence[Any], None, None]:
    for shard in shards:
        yield work(shard)
