"""How far a long stage is, on stderr: a bar on a terminal, else lines; nothing with ROSD_QUIET."""

import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self, TextIO, TypeVar

from rosd_core.tables.progress_bar import Bar

EVERY = 10.0  # seconds between two lines, at least
REDRAWN = 0.25  # the same of a bar
QUIET = "ROSD_QUIET"

# rows that are done, all rows of the shard, tokens since the report before
Report = Callable[[int, int, int], None]
Row = TypeVar("Row", bound=Any)
Traceback = TracebackType | None


def silent(done: int, rows: int, tokens: int) -> None:
    """A report that nobody reads."""


def quiet() -> bool:
    """Whether the environment variable ROSD_QUIET asks for no progress: any value but 0."""
    return os.environ.get(QUIET, "") not in ("", "0")


@contextmanager
def reporting(name: str, wanted: bool) -> Iterator[Report]:
    """The report of a stage without shards; a silent one where it is not `wanted`."""
    if not wanted:
        yield silent
        return
    with Progress(name) as progress:
        yield progress.report


def report_steps(
    steps: Iterable[Sequence[Row]], rows: int, report: Report
) -> Iterator[Sequence[Row]]:
    """The same optimizer steps; each is reported, with its supervised tokens, when the next one is
    asked for.
    """
    done = 0
    for step in steps:
        yield step
        done += len(step)
        report(done, rows, sum(len(row["positions"]) for row in step))


class Progress:
    """Shows rows done, tokens per second and the time left, which is estimated from the share of
    the items that is done. On a terminal that is a bar, which goes at the end of the `with` block,
    however it ends; elsewhere a line every ten seconds.
    """

    def __init__(
        self,
        name: str,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name, self.stream, self.clock = name, stream or sys.stderr, clock
        self.quiet = quiet()
        self.bar = Bar(self.stream) if not self.quiet and draws_bars(self.stream) else None
        self.every = REDRAWN if self.bar else EVERY
        self.started = self.printed = clock()
        self.tokens, self.label = 0, ""
        self.first, self.before, self.share = 0.0, 0.0, 1.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: Traceback
    ) -> None:
        if self.bar is not None:
            self.bar.close()

    def shard(self, number: int, size: int, items: int) -> None:
        """Begin shard `number` (from 1) of `size` items each, of all `items`; time counts from the
        first.
        """
        start = (number - 1) * size
        self.before, self.share = start / items, min(size, items - start) / items
        if not self.label:
            self.started = self.printed = self.clock()
            self.first = self.before
        self.label = f"shard {number}/{-(-items // size)}, "

    def kept(self, done: int, count: int, what: str) -> None:
        """Say that work of an earlier run is there already."""
        self._line(f"goes on: {done} of {count} {what} were done before")

    def report(self, done: int, rows: int, tokens: int) -> None:
        """A `Report` of this shard; shown where what was shown last is old enough."""
        self.tokens += tokens
        now = self.clock()
        if self.quiet or now - self.printed < self.every:
            return
        self.printed, elapsed = now, now - self.started
        share = self.before + self.share * done / rows
        now_done = share - self.first
        left = f", about {duration(elapsed * (1 - share) / now_done)} left" if now_done else ""
        rate = self.tokens / elapsed
        text = f"{self.label}{done} of {rows} rows, {rate:.0f} tokens/s{left}"
        if self.bar is None:
            self._line(text)
        else:
            self.bar.show(self.name, share, text)

    def shard_done(self, written: int) -> None:
        """The line of a shard, which is always printed and stays."""
        seconds = self.clock() - self.started
        self._line(f"{self.label}{written} rows, {seconds:.1f} s")

    def _line(self, text: str) -> None:
        if self.quiet:
            return
        if self.bar is None:
            print(f"{self.name}: {text}", file=self.stream, flush=True)
        else:
            self.bar.line(f"{self.name}: {text}")


def draws_bars(stream: TextIO) -> bool:
    """Whether a bar can be drawn: on a terminal that moves its cursor, by one process alone. The
    processes that a study starts share their terminal.
    """
    able = stream.isatty() and os.environ.get("TERM", "dumb") not in ("dumb", "unknown")
    return able and multiprocessing.parent_process() is None


def duration(seconds: float) -> str:
    """Seconds in words, such as `40 s`, `12 min`, `3.5 h`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 100 * 60 else f"{seconds / 3600:.1f} h"
