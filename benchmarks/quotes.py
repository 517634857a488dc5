"""Quotes as careless reflectors write them: how often their start is found exactly, by class.

    python benchmarks/quotes.py [--solutions FILE.jsonl] [--count 100]

FILE.jsonl holds GSM8K's example model solutions (see benchmarks/align.py); the other responses are
made here, with LaTeX and Markdown. A quote starts at a line or at a word within it and covers up to
three lines. Only pieces that stand once in their response are quoted. False matches: the same
quotes searched in other responses, of the same problem and of others, that do not hold the words.
To measure another version: PYTHONPATH=FOLDER, where the folder holds that version of rosd_core.
"""

import argparse
import json
import re
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random

from reflectors import CLASSES, FORMATS, tags
from rich.console import Console
from rich.table import Table
from science_texts import science_texts

from rosd_core.align.find_quote import find_quote
from rosd_core.reflect.parse import parse_reflection

THRESHOLD = 80.0  # params.yaml: align.fuzzy_threshold
STYLES = ("as it is", "1. ", "- ", "Step 1: ", "**Step 1:** ")
Problems = list[list[str]]


def gsm8k(file: Path, count: int) -> Problems:
    """The wrong solutions of each problem, some of them as lists or with labelled steps."""
    problems = []
    for number, line in enumerate(file.open()):
        style = STYLES[number % len(STYLES)]
        entries = [v for v in json.loads(line).values() if isinstance(v, dict)]
        wrong = dict.fromkeys(e["solution"] for e in entries if not e["is_correct"])
        problems.append([_styled(text, style) for text in wrong])
    filled = [texts for texts in problems if texts]
    return Random(0).sample(filled, min(count, len(filled)))


def _styled(text: str, style: str) -> str:
    if style == STYLES[0]:
        return text
    lines = text.split("\n")
    return "\n".join(style.replace("1", str(n)) + line for n, line in enumerate(lines, 1))


def draw_piece(text: str, rng: Random) -> tuple[int, str] | None:
    """A piece of one to three lines from the start of a line or word: its start and its text."""
    starts = [m.start() for m in re.finditer(r"(?m)^(?=.*\w\W+\w)", text)]
    first = rng.randrange(len(starts))
    last = min(first + rng.choice((0, 0, 1, 2)), len(starts) - 1)
    start = starts[first]
    end = text.find("\n", starts[last])
    end = len(text) if end < 0 else end
    if rng.random() < 0.3:
        words = [start + m.start() for m in re.finditer(r"(?<=\s)[\w\\$(]", text[start:end])]
        start = rng.choice(words[: len(words) // 2] or [start])
    piece = text[start:end]
    stripped = piece.lstrip()
    start += len(piece) - len(stripped)
    long_enough = len(re.findall(r"\w+", stripped)) >= 5
    return (start, stripped) if long_enough and text.count(stripped) == 1 else None


def quotes_of(problems: Problems, name: str, seed: str) -> Iterator[tuple[int, int, str, int, str]]:
    """(problem, response, quote, true start, piece), one for each response where the class fits."""
    for p, texts in enumerate(problems):
        for r, text in enumerate(texts):
            rng = Random(f"{seed}/{name}/{p}/{r}")
            for _ in range(6):
                drawn = draw_piece(text, rng)
                quoted = CLASSES[name](drawn[1], rng) if drawn else None
                if drawn and quoted and text.find(quoted[0]) in (-1, drawn[0] + quoted[1]):
                    yield p, r, quoted[0], drawn[0] + quoted[1], drawn[1]
                    break


def _letters(text: str) -> str:
    return re.sub(r"\W+", "", re.sub(r"<<.*?>>", "", text)).casefold()


def starts_by_class(sources: dict[str, Problems], show: int, console: Console) -> None:
    table = Table(
        "responses", "class", "quotes", "exact start", "late", "early", "missed", "matches"
    )
    for source, problems in sources.items():
        everything: Counter[str] = Counter()
        for name in CLASSES:
            count: Counter[str] = Counter()
            for p, r, quote, start, _ in quotes_of(problems, name, source):
                found = find_quote(quote, problems[p][r], "", THRESHOLD)
                at = found.span[0] if found else None
                right = "missed" if at is None else "late" if at > start else "early"
                right = "right" if at == start else right
                count["n"] += 1
                count[right] += 1
                count["match " + (found.match if found else "none")] += 1
                if right != "right" and count["n"] - count["right"] <= show:
                    got = problems[p][r][slice(*found.span)] if found else None
                    console.print([name, right, found and found.match, quote], markup=False)
                    console.print([problems[p][r][start : start + 60], got], markup=False)
            everything += count
            table.add_row(source, name, *_cells(count))
        table.add_row(source, "all", *_cells(everything))
    console.print(table)


def _cells(count: Counter[str]) -> list[str]:
    total = max(1, count["n"])
    shares = [f"{100 * count[k] / total:.1f} %" for k in ("right", "late", "early", "missed")]
    kinds = sorted(k.removeprefix("match ") for k in count if k.startswith("match "))
    return [str(count["n"]), *shares, " ".join(f"{k} {count['match ' + k]}" for k in kinds)]


def false_matches(sources: dict[str, Problems], show: int, console: Console) -> None:
    """Quotes searched in responses that do not hold the piece, not even letter for letter."""
    table = Table("responses", "searched in", "quotes", "found", "by match")
    for source, problems in sources.items():
        for where in ("same problem", "another problem"):
            if where == "same problem" and source == "science":
                continue  # the same text with other numbers
            count: Counter[str] = Counter()
            for name in CLASSES:
                for p, r, quote, _, piece in quotes_of(problems, name, source):
                    rng = Random(f"{where}/{p}/{r}")
                    others = problems[p][:r] + problems[p][r + 1 :]
                    if where != "same problem":
                        others = rng.choice(problems[:p] + problems[p + 1 :])
                    if not others:
                        continue
                    other = rng.choice(others)
                    if _letters(piece) in _letters(other):
                        continue
                    found = find_quote(quote, other, "", THRESHOLD)
                    count["n"] += 1
                    if found:
                        count[found.match] += 1
                        if sum(count.values()) - count["n"] <= show:
                            console.print([name, found.match, quote], markup=False)
                            console.print([other[slice(*found.span)]], markup=False)
            total = count.pop("n", 0)
            found = sum(count.values())
            share = f"{100 * found / max(1, total):.2f} %"
            table.add_row(source, where, str(total), share, str(dict(count)))
    console.print(table)


def formats(sources: dict[str, Problems], console: Console) -> None:
    """A verbatim quote through each format of the answer: read, found and at the right place."""
    table = Table("format", *sources)
    for form in FORMATS:
        shares = []
        for source, problems in sources.items():
            right = total = 0
            for p, r, quote, start, _ in quotes_of(problems, "verbatim", source):
                parsed = parse_reflection(form(quote), "wrong", "stop")
                found = None
                if parsed.status == "ok" and parsed.quotes:
                    found = find_quote(parsed.quotes[0], problems[p][r], "", THRESHOLD)
                right += found is not None and found.span[0] == start
                total += 1
            shares.append(f"{100 * right / max(1, total):.1f} %")
        table.add_row(form.__name__, *shares)
    console.print(table)


def speed(sources: dict[str, Problems], console: Console) -> None:
    """Best of five, each quote of a class once in its own response, and parsing with tags."""
    for source, problems in sources.items():
        for name in ("verbatim", "markup_rewritten", "word_changed", "comment_after"):
            rows = list(quotes_of(problems, name, source))
            best = min(_seconds(problems, rows) for _ in range(5))
            console.print(f"find_quote, {source}, {name}: {1e6 * best / len(rows):.0f} µs a quote")
        raws = [tags(row[2]) for row in quotes_of(problems, "verbatim", source)]
        started = time.perf_counter()
        for raw in raws:
            parse_reflection(raw, "wrong", "stop")
        seconds = time.perf_counter() - started
        console.print(f"parse_reflection, {source}: {1e6 * seconds / len(raws):.0f} µs an answer")


def _seconds(problems: Problems, rows: list[tuple[int, int, str, int, str]]) -> float:
    started = time.perf_counter()
    for p, r, quote, _, _ in rows:
        find_quote(quote, problems[p][r], "", THRESHOLD)
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--solutions", type=Path, help="GSM8K example_model_solutions.jsonl")
    parser.add_argument("--count", type=int, default=100, help="GSM8K problems (by seed 0)")
    parser.add_argument("--show", type=int, default=0, help="print so many failures of each kind")
    arguments = parser.parse_args()
    sources = {"science": science_texts(max(2, arguments.count // 10))}
    if arguments.solutions:
        sources["gsm8k"] = gsm8k(arguments.solutions, arguments.count)
    console = Console(width=200)
    starts_by_class(sources, arguments.show, console)
    false_matches(sources, arguments.show, console)
    formats(sources, console)
    speed(sources, console)


if __name__ == "__main__":
    main()
