"""Take the pictures of the documentation from a project on which the pipeline has run.

    python docs/screenshots.py [PROJECT]

Needs Chromium and playwright (`pip install -e ".[dev]"`). Writes docs/images/report-*.png.
"""

import shutil
import sys
from pathlib import Path
from typing import Literal

from PIL import Image
from playwright.sync_api import sync_playwright

HERE = Path(__file__).resolve().parent
# name, colour scheme, width and height of the window, the part that is shown (None: all)
PICTURES: tuple[tuple[str, Literal["light", "dark"], int, int, str | None], ...] = (
    ("report-light", "light", 1280, 900, None),
    ("report-rollout-light", "light", 1280, 1000, "rollouts"),
    ("report-rollout-dark", "dark", 1280, 1000, "rollouts"),
    ("report-rollout-narrow", "light", 430, 1500, "rollouts"),
)


def main(project: Path) -> None:
    with sync_playwright() as playwright:
        program = shutil.which("chromium") or shutil.which("google-chrome")
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        for name, scheme, width, height, part in PICTURES:
            page = browser.new_page(
                viewport={"width": width, "height": height},
                color_scheme=scheme,
                reduced_motion="reduce",
            )
            page.goto((project / "report.html").resolve().as_uri())
            page.wait_for_selector("body[data-ready]")
            file = HERE / "images" / f"{name}.png"
            if part is not None:
                page.evaluate(f"document.getElementById('{part}').scrollIntoView()")
            page.screenshot(path=file, full_page=part is None)
            with Image.open(file) as image:
                image.convert("RGB").quantize(256).save(file, optimize=True)
            page.close()


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "."))
