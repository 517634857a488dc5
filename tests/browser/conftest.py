"""A headless Chromium without a network, to look at the pages that we write."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.browser.support import Opened, OpenPage

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, Request

LOCAL = ("file:", "data:", "blob:")


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    """One Chromium for the tests of a file. Not for the whole session: while Playwright runs, no
    other test could call asyncio.run.
    """
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("there is no chromium on the path")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program,
            args=["--no-sandbox"] if os.geteuid() == 0 else [],
        )
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: "Browser") -> Iterator[OpenPage]:
    """A function that opens a file in a new page that has no network."""
    context = browser.new_context(offline=True, viewport={"width": 1200, "height": 900})

    def open_file(file: Path) -> Opened:
        opened = Opened(context.new_page())

        def note_message(message: "ConsoleMessage") -> None:
            if message.type == "error":
                opened.errors.append(message.text)

        def note_request(request: "Request") -> None:
            if not request.url.startswith(LOCAL):
                opened.requests.append(request.url)

        opened.page.on("console", note_message)
        opened.page.on("pageerror", lambda error: opened.errors.append(str(error)))
        opened.page.on("request", note_request)
        opened.page.on("websocket", lambda socket: opened.requests.append(socket.url))
        opened.page.goto(file.resolve().as_uri())
        return opened

    yield open_file
    context.close()
