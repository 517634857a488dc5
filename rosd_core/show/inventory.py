"""The tables of a project at a glance: what `rosd tables` prints."""

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from rosd_core.show.layout import print_indented
from rosd_core.terminal import printable

# the columns that `contents` reads
READ = {
    "problems": ["split"],
    "rollouts": ["success", "finish_reason"],
    "reflections": ["status", "skip_reason"],
    "alignments": ["status", "skip_reason"],
    "scores": ["status"],
    "evaluation": ["success"],
}


@dataclass(frozen=True)
class Entry:
    """A table of the project. `rows` and `size` (bytes) are None where it is not there; `note` says
    what is wrong with it.
    """

    iteration: str
    table: str
    rows: int | None
    size: int | None
    contents: str
    note: str = ""


def contents(table: str, frame: pl.DataFrame) -> str:
    """What is in a table, in a few words. `frame` has the columns of READ."""
    if table == "problems":
        return _counts(frame["split"])
    if "success" in frame.columns:
        right = int(frame["success"].sum())
        share = f"{right} correct ({100 * right / max(1, len(frame)):.1f} %)"
        cut = int((frame["finish_reason"] == "length").sum()) if table == "rollouts" else 0
        return f"{share}, {cut} cut off" if cut else share
    known = frame.filter(pl.col("status") != "skipped")
    parts = [_counts(known["status"])]
    if "skip_reason" in frame.columns and len(known) < len(frame):
        parts.append(f"skipped: {_counts(frame['skip_reason'].drop_nulls())}")
    return "; ".join(filter(None, parts))


def _counts(values: pl.Series) -> str:
    """`730 ok, 38 no_quote`: the most frequent first."""
    counts = values.value_counts(name="count").sort(
        ["count", values.name], descending=[True, False]
    )
    return ", ".join(f"{count} {name}" for name, count in counts.iter_rows())


def print_inventory(console: Console, entries: Sequence[Entry]) -> None:
    """Print a line per table; an empty line separates the iterations."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    for name in ("", "table", "rows", "size", "contents"):
        right = name in ("rows", "size")
        table.add_column(name, justify="right" if right else "left", no_wrap=name != "contents")
    before = None
    for entry in entries:
        if before is not None and entry.iteration != before:
            table.add_row()
        told = Text(printable(entry.contents))
        if entry.note:
            told.append("; " if entry.contents else "").append(printable(entry.note), "bold yellow")
        table.add_row(
            "" if entry.iteration == before else Text(printable(entry.iteration)),
            entry.table,
            "" if entry.rows is None else str(entry.rows),
            "" if entry.size is None else size(entry.size),
            told,
        )
        before = entry.iteration
    print_indented(console, table, 0)


def size(count: int) -> str:
    """Bytes as `812 B`, `38.2 kB`, `1.4 MB`, `2.0 GB`."""
    if count < 1000:
        return f"{count} B"
    amount, unit = count / 1000, "kB"
    for larger in ("MB", "GB", "TB"):
        if amount < 1000:
            break
        amount, unit = amount / 1000, larger
    return f"{amount:.1f} {unit}"
