"""How far a long stage is: lines on stderr."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TextIO, TypeVar

EVERY = 10.0  # seconds between two lines, at least

# rows that are done, all rows of the shard, tokens since the report before
Report = Callable[[int, int, int], None]
Row = TypeVar("Row", bound=Any)


def silent(done: int, rows: int, tokens: int) -> None:
    """A report that nobody reads."""


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
    """Prints rows done, tokens per second and the time left, which is estimated from the share of
    the items that is done. On a terminal, a line replaces the one before.
    """

    def __init__(
        self,
        name: str,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name, self.stream, self.clock = name, stream or sys.stderr, clock
        self.started = self.printed = clock()
        self.tokens, self.label = 0, ""
        self.first, self.before, self.share = 0.0, 0.0, 1.0

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
        self._print(f"goes on: {done} of {count} {what} were done before", stays=True)

    def report(self, done: int, rows: int, tokens: int) -> None:
        """A `Report` of this shard; prints where the last line is EVERY seconds old."""
        self.tokens += tokens
        now = self.clock()
        if now - self.printed < EVERY:
            return
        self.printed, elapsed = now, now - self.started
        share = self.before + self.share * done / rows
        now_done = share - self.first
        left = f", about {duration(elapsed * (1 - share) / now_done)} left" if now_done else ""
        rate = self.tokens / elapsed
        self._print(f"{self.label}{done} of {rows} rows, {rate:.0f} tokens/s{left}", stays=False)

    def shard_done(self, written: int) -> None:
        """The line of a shard, which is always printed."""
        seconds = self.clock() - self.started
        self._print(f"{self.label}{written} rows, {seconds:.1f} s", stays=True)

    def _print(self, text: str, stays: bool) -> None:
        rewritten = self.stream.isatty()
        erased, end = ("\r\x1b[K", "\n" if stays else "") if rewritten else ("", "\n")
        print(f"{erased}{self.name}: {text}", end=end, file=self.stream, flush=True)


def duration(seconds: float) -> str:
    """Seconds in words, such as `40 s`, `12 min`, `3.5 h`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 100 * 60 else f"{seconds / 3600:.1f} h"
