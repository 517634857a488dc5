"""How long a browser needs for report.html with many rollouts.

    python benchmarks/report_page.py [--rollouts 10000] [--tokens 60]

Rollouts of the built-in model's tokenizer, half of them wrong and supervised in their second half,
are written as a page and opened in headless Chromium: seconds until the page is ready, of a search
in all texts, and of frames while the list is scrolled. Of each the median of three.
"""

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from playwright.sync_api import Page, sync_playwright

from tests.browser.pages import page_of, rollout, write_page

SCROLL = """() => new Promise((done) => {
  const list = document.getElementById("list"), frames = [];
  let before = performance.now(), top = 0;
  const step = (now) => {
    frames.push(now - before); before = now; top += 400; list.scrollTop = top;
    if (frames.length < 120) requestAnimationFrame(step); else done(frames.slice(1));
  };
  requestAnimationFrame(step);
})"""


def make_page(folder: Path, count: int, tokens: int) -> Path:
    rng, rows, prompts = Random(0), [], {}
    for n in range(count):
        problem = f"chain-{n // 8}"
        prompts[problem] = f"Start with {rng.randint(1, 99)}. Add {rng.randint(1, 99)}."
        lines = [
            f"{rng.randint(10, 99)}+{rng.randint(10, 99)}={rng.randint(10, 99)}"
            for _ in range(tokens // 6)
        ]
        text = "\n".join(lines)
        quote = lines[len(lines) // 2] if n % 2 else None
        rows.append(rollout(problem, n % 8, text, quote=quote, divergence=0.6 * rng.random()))
    return write_page(folder, page_of({"i1": rows}, prompts))


def measure(page: Page, file: Path) -> tuple[float, float, list[float]]:
    began = time.monotonic()
    page.goto(file.as_uri())
    page.wait_for_selector("body[data-ready]", timeout=120_000)
    opened = time.monotonic() - began
    frames = page.evaluate(SCROLL)
    began = time.monotonic()
    page.fill("#f-text", "17+8")
    page.locator("#count").filter(has_not_text=page.inner_text("#count")).wait_for()
    return opened, time.monotonic() - began, frames


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rollouts", type=int, default=10_000)
    parser.add_argument("--tokens", type=int, default=60)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        began = time.monotonic()
        file = make_page(Path(folder), chosen.rollouts, chosen.tokens)
        made, size = time.monotonic() - began, file.stat().st_size / 1e6
        print(f"{chosen.rollouts} rollouts, {chosen.tokens} tokens: {size:.1f} MB in {made:.1f} s")
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox"]
        )
        found = []
        for _ in range(3):
            page = browser.new_page()
            found.append(measure(page, file))
            page.close()
        frames = sorted(frame for run in found for frame in run[2])
        print(f"ready after {statistics.median(run[0] for run in found):.2f} s")
        print(f"search in all texts: {statistics.median(run[1] for run in found):.2f} s")
        middle, slow = statistics.median(frames), frames[int(0.95 * len(frames))]
        print(f"a frame of scrolling: median {middle:.0f} ms, 95 % below {slow:.0f} ms")
        browser.close()


if __name__ == "__main__":
    main()
