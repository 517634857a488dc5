"""Worst-case times of matching, parsing and grading on long texts, whatever they hold.

    python benchmarks/text_worst_case.py [--chars 200000] [--only TEXT]

Each text is a pattern repeated up to the length. A row of `align` is timed as a whole: the response
and the reflection are the text, and the reflection has as many quotes as are read. Seconds, and the
worst of each column; a call that takes over 20 s ends the program.
"""

import argparse
import signal
import time
from collections.abc import Callable, Iterator
from functools import partial
from random import Random
from typing import cast

from rich.console import Console
from rich.table import Table

from rosd_core.align.fold import fold_once
from rosd_core.align.rows import find_quotes
from rosd_core.graders.graders import GRADERS
from rosd_core.prompts.thinking import without_thinking
from rosd_core.reflect.parse import (
    MOST_QUOTES,
    parse_constrained,
    parse_reflection,
    without_quotes,
)
from rosd_core.tables.row_types import ReflectionRow

THRESHOLD = 80.0  # params.yaml: align.fuzzy_threshold
PATTERNS = (
    "a", "ab", "a\n", "ab ab\n", " ", "\n", "0", "1,000", "1+2=3 so ", "Step 1: x is 5.\n", "- ",
    "\n- ", "# ", "*", "**a ", "$", "`", "_", "\\", "{", "<<1+", "\\frac{", "\\frac12 ", "a...",
    '"a" ', "(a) ", "1   x   ", "e\u0301", "\u0301", "\u00b2", "```\n", "        ```", "<think>",
    "</think>", "<error_quote>", "<error_quote>a", "<error_quote>a b</error_quote>",
    "<explanation>", "<explanation><error_quote>", '"error_quote": ', '"error_quote": ["a",',
    "**Error quote:** a\n", "\\boxed{", "\\boxed{1} ", "#### 1\n", "Answer: 1\n", "<answer>",
    "Action: a\nAction Input:", "1/2 ", "1,", "1.", "1e", "-",
)  # fmt: skip
GOLD = {"tool_use": '[{"Action": "a", "Action_Input": "{}"}]'}


def texts(chars: int) -> Iterator[tuple[str, str]]:
    """(name, text) of each pattern, of random words, digits and characters, and of many quotes."""
    for pattern in PATTERNS:
        yield repr(pattern), (pattern * (chars // len(pattern) + 1))[:chars]
    rng, words = Random(1), ["so", "then", "the", "sum", "of", "12", "apples", "gives", "x = 4"]
    lines = (" ".join(rng.choices(words, k=rng.randrange(3, 15))) for _ in range(chars // 14))
    yield "words", "\n".join(lines)[:chars]
    yield "digits", "".join(rng.choices("0123456789", k=chars))
    codes = (
        rng.choice((rng.randrange(32, 127), rng.randrange(0xA0, 0x2FFF))) for _ in range(chars)
    )
    yield "Unicode", "".join(map(chr, codes))
    many = (f"<error_quote>a{n}</error_quote>" for n in range(chars // 30))
    yield "many quotes", "".join(many)


def quotes_of(text: str, size: int, how: str) -> list[str]:
    """As many quotes as are read: pieces of the text, exact or disturbed."""
    last = max(1, len(text) - size)
    count = min(MOST_QUOTES, len(text) // size)  # together no longer than the reflection
    pieces = [text[n * 997 % last :][: size + n % 7] for n in range(count)]
    disturb: dict[str, Callable[[str], str]] = {
        "exact": lambda piece: piece,
        "comment": lambda piece: piece + " zebra zebra",
        "typos": lambda piece: "".join(c if n % 7 else "q" for n, c in enumerate(piece)),
    }
    return [disturb[how](piece) for piece in pieces]


def match_calls(text: str) -> Iterator[Callable[[], object]]:
    for size, how in (
        *((size, "exact") for size in (1, 60, len(text) // MOST_QUOTES, len(text) // 2)),
        *((size, "comment") for size in (60, 900, len(text) // MOST_QUOTES)),
        *((size, "typos") for size in (60, 300, 1000)),
    ):
        reflection = cast(ReflectionRow, {"quotes": quotes_of(text, size, how), "raw": text})
        yield partial(find_quotes, reflection, text, THRESHOLD)


def parse_calls(text: str) -> Iterator[Callable[[], object]]:
    yield partial(parse_reflection, text, "wrong", "stop")
    yield partial(parse_constrained, text, text, "length")
    yield lambda: without_quotes(text, parse_reflection(text, "wrong", "stop").quotes)
    yield partial(without_thinking, text)


def grade_calls(text: str) -> Iterator[Callable[[], object]]:
    for name, grader in GRADERS.items():
        if name == "reasoning_gym":  # its scorers are not ours
            continue
        for frame in ("{}", "\\boxed{{{}}}", "<answer>{}</answer>", "Action: a\nAction Input: {}"):
            answer = {"answer": GOLD.get(name, "5")}
            yield partial(grader, frame.format(text), answer)


def slowest(calls: Iterator[Callable[[], object]]) -> float:
    worst = 0.0
    for call in calls:
        fold_once.cache_clear()
        signal.alarm(20)
        started = time.perf_counter()
        call()
        worst = max(worst, time.perf_counter() - started)
        signal.alarm(0)
    return worst


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--chars", type=int, default=200_000)
    parser.add_argument("--only", help="a part of the name of a text")
    arguments = parser.parse_args()
    GRADERS["math"]("\\boxed{x}", {"answer": "y"})  # starts the process that compares
    table, worst = Table("text", "match a row", "parse", "grade"), [0.0, 0.0, 0.0]
    for name, text in texts(arguments.chars):
        if arguments.only is None or arguments.only in name:
            times = [slowest(calls(text)) for calls in (match_calls, parse_calls, grade_calls)]
            worst = [max(pair) for pair in zip(worst, times, strict=True)]
            table.add_row(name.replace("[", "\\["), *(f"{seconds:.2f}" for seconds in times))
    table.add_row("worst", *(f"{seconds:.2f}" for seconds in worst))
    Console().print(f"seconds, {arguments.chars:,} characters:", table)


if __name__ == "__main__":
    main()
