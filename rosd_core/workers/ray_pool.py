"""Shards on Ray workers: each opens its models once; one that dies is replaced, and its shard is
worked on again.
"""

import heapq
import os
import sys
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rosd_core.errors import RosdError
from rosd_core.tables.progress import silent
from rosd_core.workers.pool import Opened, Shard, Work, Workers
from rosd_core.workers.ray_cluster import capacity, cluster

AHEAD = 2  # shards per worker that are under way or done before the one that is written next
MOST_DEATHS = 3  # of workers on one shard
PATIENCE = 30.0  # seconds without news after which it is checked that workers can start at all


def ray_results(
    opened: Opened, shards: Sequence[Shard], workers: Workers
) -> Generator[Sequence[Any], None, None]:
    """The rows of every shard, in the order of the shards.

    Raises RosdError where Ray does not start, a worker raises it, or a shard kills MOST_DEATHS
    workers.
    """
    with cluster(workers, min(workers.count, len(shards))) as count:
        yield from _Pool(opened, shards, workers, count).rows()


class _Worker:
    """What runs in the process of a worker."""

    work: Work

    def name(self) -> str:
        import ray

        return f"pid {os.getpid()} on {ray.util.get_node_ip_address()}"

    def open(self, opened: Opened, folder: Path) -> None:
        """Get the models ready. Relative paths of the stage start at `folder`."""
        try:
            os.chdir(folder)
        except OSError:
            raise RosdError(
                f"{folder}: the Ray worker ({self.name()}) does not see this folder. All machines "
                "of the cluster need the project under the same path."
            ) from None
        self.work = opened(silent)

    def rows(self, shard: Shard) -> Sequence[Any]:
        return self.work(shard)


@dataclass
class _Member:
    """What the stage knows of a worker. It waits for the name, then for the models, then for
    shards.
    """

    number: int  # from 1
    actor: Any
    name: str = ""  # empty: it has not started
    shard: int | None = None  # that it works on

    def __str__(self) -> str:
        return f"worker {self.number}" + (f" ({self.name})" if self.name else "")


class _Pool:
    def __init__(
        self, opened: Opened, shards: Sequence[Shard], workers: Workers, count: int
    ) -> None:
        import ray

        self.ray, self.shards, self.workers, self.count = ray, shards, workers, count
        self.opened, self.folder = ray.put(opened), Path.cwd()
        self.actors = ray.remote(_Worker).options(
            num_cpus=workers.threads, num_gpus=workers.gpus, scheduling_strategy="SPREAD"
        )
        self.waiting = list(range(len(shards)))  # a heap: numbers of shards
        self.under_way: dict[Any, _Member] = {}  # by what is waited for
        self.idle: list[_Member] = []
        self.done: dict[int, Sequence[Any]] = {}
        self.deaths: Counter[int | None] = Counter()  # per shard; None: opening the models
        self.warned = False

    def rows(self) -> Iterator[Sequence[Any]]:
        """The rows of every shard, in order."""
        for number in range(1, self.count + 1):
            self._start(number)
        for shard in range(len(self.shards)):
            while shard not in self.done:
                self._hand_out(shard)
                self._take()
            self._hand_out(shard + 1)  # the workers go on while the caller writes
            yield self.done.pop(shard)

    def _start(self, number: int) -> None:
        member = _Member(number, self.actors.remote())
        self.under_way[member.actor.name.remote()] = member

    def _hand_out(self, first: int) -> None:
        """Give idle workers their next shards, as far as AHEAD allows; `first` is written next."""
        last = first + AHEAD * self.count
        while self.idle and self.waiting and self.waiting[0] <= last:
            member, member.shard = self.idle.pop(0), heapq.heappop(self.waiting)
            rows = member.actor.rows.remote(self.shards[member.shard])
            self.under_way[rows] = member

    def _take(self) -> None:
        """Wait until a worker is done with something."""
        ready, _ = self.ray.wait(list(self.under_way), num_returns=1, timeout=PATIENCE)
        if not ready:
            self._check_room()
            return
        member, errors = self.under_way.pop(ready[0]), self.ray.exceptions
        try:
            result = self.ray.get(ready[0])
        except RosdError as error:  # also a Ray error, which carries the original
            raise getattr(error, "cause", error) from None
        except (
            errors.RayActorError, errors.ObjectLostError, errors.OutOfMemoryError,
            errors.WorkerCrashedError, errors.NodeDiedError,
        ) as error:  # fmt: skip
            self._replace(member, _reason(str(error)))
        else:
            self._go_on(member, result)

    def _go_on(self, member: _Member, result: Any) -> None:
        """What a worker does after a step that went well."""
        if not member.name:
            member.name = result
            opening = member.actor.open.remote(self.opened, self.folder)
            self.under_way[opening] = member
            return
        if member.shard is None:
            self.deaths[None] = 0
        else:
            self.done[member.shard], member.shard = result, None
        self.idle.append(member)

    def _replace(self, member: _Member, reason: str) -> None:
        """Start a worker for one that died; its shard is handed out again."""
        self.ray.kill(member.actor)  # one that Ray merely lost sight of
        shard = member.shard
        what = "opening the models" if shard is None else f"shard {shard + 1}/{len(self.shards)}"
        self.deaths[shard] += 1
        print(f"{member} died on {what}: {reason}", file=sys.stderr, flush=True)
        if self.deaths[shard] == MOST_DEATHS:
            raise RosdError(
                f"{MOST_DEATHS} Ray workers died on {what}. engine.workers: 1 shows the error; if "
                "memory was short, lower engine.workers, batch_tokens or the rows per shard."
            )
        if shard is not None:
            heapq.heappush(self.waiting, shard)
        self._start(member.number)

    def _check_room(self) -> None:
        """Where no worker has started for a while: can one, and does the user know?"""
        if self.idle or any(member.name for member in self.under_way.values()):
            return
        if capacity(self.workers) == 0:
            raise RosdError(
                f"engine.address = {self.workers.address}: the cluster has lost its machines. "
                "Look at `ray status`."
            )
        if not self.warned:
            print("waiting for CPUs or GPUs: other jobs use the Ray cluster", file=sys.stderr)
            self.warned = True


def _reason(error: str) -> str:
    """Why a worker died, from Ray's long message."""
    if "running low on memory" in error:
        return "Ray ended it because the memory of its machine was nearly full"
    if "its node has died" in error:
        return "its machine left the cluster"
    return "its process was killed or crashed"
