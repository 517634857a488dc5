"""What a test of a page gets from the fixture `open_page`."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Page


@dataclass
class Opened:
    """A page with what happened on it since it was opened."""

    page: "Page"
    errors: list[str] = field(default_factory=list)  # console errors and uncaught exceptions
    requests: list[str] = field(default_factory=list)  # addresses that are not of this machine


OpenPage = Callable[[Path], Opened]
