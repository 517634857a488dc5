"""A bar on the last line of a terminal. What is printed meanwhile stays above it."""

from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.live import Live

LEAST, MOST = 4, 24  # characters of the bar itself


class Bar:
    """Drawn only when it is told to: no thread redraws it. The cursor stays visible, so that even a
    killed process leaves a terminal as it found it.
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.live: Live | None = None  # rich is imported when there is something to draw

    def _open(self) -> "Live":
        from rich.console import Console
        from rich.live import Live

        class KeepsCursor(Console):
            def show_cursor(self, show: bool = True) -> bool:
                return False

        console = KeepsCursor(file=self.stream, force_terminal=True)
        live = Live(console=console, auto_refresh=False, transient=True, redirect_stdout=False)
        live.start()
        return live

    def show(self, name: str, share: float, text: str) -> None:
        """Draw the bar with this share (0 to 1) filled, and text at its sides."""
        from rich.progress_bar import ProgressBar
        from rich.table import Table

        self.live = self.live or self._open()
        text = f"{share:4.0%}  {text}"
        room = self.live.console.width - len(name) - len(text) - 3
        row = Table.grid(padding=(0, 1, 0, 0))
        for overflow in ("fold", "fold", "ellipsis"):
            row.add_column(no_wrap=True, overflow=overflow)
        row.add_row(name, ProgressBar(1.0, share, width=max(LEAST, min(MOST, room))), text)
        self.live.update(row, refresh=True)

    def line(self, text: str) -> None:
        """A line that stays."""
        if self.live is None:
            print(text, file=self.stream, flush=True)
        else:
            self.live.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def close(self) -> None:
        """Take the bar away."""
        if self.live is not None:
            self.live.stop()
            self.live = None
