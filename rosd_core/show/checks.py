"""The checks of an installation: what `rosd doctor --all` prints."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from rosd_core.project.checks import Check
from rosd_core.show.layout import print_indented
from rosd_core.terminal import printable

STYLES = {"ok": "green", "note": "yellow"}


def print_checks(checks: Sequence[Check], console: Console | None = None) -> None:
    """Print a line per check that nothing is wrong with; what is wrong is the command's error."""
    console = console or Console(highlight=False, markup=False, emoji=False)
    table = Table.grid(padding=(0, 2, 0, 0))
    for check in checks:
        if check.state in STYLES:
            state = Text(check.state, STYLES[check.state])
            table.add_row(state, check.name, Text(printable(check.told)))
    if table.row_count:
        print_indented(console, table, 0)
