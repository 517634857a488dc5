"""Two evaluations beside each other: what `rosd diff` prints."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from rosd_core.show.layout import print_indented
from rosd_core.show.paired import Change, largest_changes
from rosd_core.terminal import printable

MEANING = """\
rose, fell: problems with more, or fewer, correct samples than before; p: the
exact sign test on them; gained, lost: problems that turned right, or wrong (at
least half of the samples are correct)."""


@dataclass(frozen=True)
class Difference:
    """`pairs` as `paired` returns them; `notes` say what weakens the comparison."""

    before: str
    after: str
    confidence: float
    changes: Sequence[Change]
    pairs: pl.DataFrame
    trained: Sequence[str]
    notes: Sequence[str]


def print_difference(console: Console, found: Difference, count: int) -> None:
    """Print a line per domain, then the problems that changed most, `count` each way."""
    percent = f"{100 * found.confidence:g} %"
    console.print(f"accuracy in percent, with the {percent} interval of the difference\n")
    print_indented(console, _domains(found), 0)
    console.print(Text(f"\n{MEANING}", "italic"))
    if any(change.domain in found.trained for change in found.changes):
        console.print(Text("* trained on", "italic"))
    for note in found.notes:
        console.print(Text(f"note: {printable(note)}", "yellow"))
    rose, fell = largest_changes(found.pairs, count)
    for title, rows, sign in (("rose", rose, 1), ("fell", fell, -1)):
        if rows:
            all_of_them = int((found.pairs["change"] * sign > 0).sum())
            console.print(Text(f"\n{title} most, {len(rows)} of {all_of_them}", "bold"))
            _print_problems(console, rows)


def _domains(found: Difference) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    table.add_column("domain", no_wrap=True)
    names = ("n", found.before, found.after, "difference", "rose", "fell", "p", "gained", "lost")
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
    for c in found.changes:
        points = 100 * c.difference, 100 * c.low, 100 * c.high
        table.add_row(
            Text(printable(f"{c.domain} *" if c.domain in found.trained else c.domain)),
            str(c.problems),
            f"{100 * c.before:.1f}",
            f"{100 * c.after:.1f}",
            "{:+.1f} [{:+.1f}, {:+.1f}]".format(*points),
            str(c.rose),
            str(c.fell),
            p_value(c.p),
            str(c.gained),
            str(c.lost),
        )
    return table


def p_value(p: float) -> str:
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def _print_problems(console: Console, rows: Sequence[dict[str, Any]]) -> None:
    width = max(len(row["problem_id"]) for row in rows)
    for row in rows:
        before = f"{row['right_before']}/{row['samples_before']}"
        after = f"{row['right_after']}/{row['samples_after']}"
        console.print(Text(f"  {printable(row['problem_id']):<{width}}  {before} -> {after}"))
