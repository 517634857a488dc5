"""Work for the tests of the pool: what workers import, so it stays small."""

import os
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from rosd_core.errors import RosdError
from rosd_core.tables.progress import Report
from rosd_core.workers.pool import Work


def square(seen: Path, slow: int | None, report: Report) -> Work:
    """Squares; every worker and every shard leaves a file in `seen`. The slow item takes longer."""
    (seen / f"opened-{os.getpid()}").touch()

    def work(shard: Sequence[int]) -> list[int]:
        (seen / f"shard-{shard[0]}").touch()
        time.sleep(0.5 if slow in shard else 0)
        return [item**2 for item in shard]

    return work


def niceness(report: Report) -> Work:
    """The priority of the process, for each item."""
    return lambda shard: [os.nice(0) for _ in shard]


def die(seen: Path, item: int, times: int, report: Report) -> Work:
    """Squares; the process ends at the shard with this item, so many times."""

    def work(shard: Sequence[int]) -> list[int]:
        deaths = len(list(seen.iterdir()))
        if item in shard and deaths < times:
            (seen / f"died-{deaths}").touch()
            os._exit(3)
        return [number**2 for number in shard]

    return work


def fail(shard: Sequence[int]) -> list[int]:
    if 3 in shard:
        raise RosdError("data/x.parquet: row 3 is bad.")
    return list(shard)


def bug(shard: Sequence[int]) -> list[int]:
    raise ZeroDivisionError("a bug")


def opened(work: Work, report: Report) -> Work:
    return work


def die_while_opening(report: Report) -> Work:
    os._exit(3)


failing, buggy = partial(opened, fail), partial(opened, bug)
