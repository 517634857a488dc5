"""Alignment on real or made text: speed, the published method's errors, and disturbed quotes.

    python benchmarks/align.py [--solutions FILE.jsonl] [--count 300]

FILE.jsonl holds GSM8K's example model solutions (one object a line, with objects
`{"is_correct": bool, "solution": text}` among its values); without it, wrong solutions of the
pocket world are used. A byte-level BPE of 4000 tokens is trained on the texts; rows are sampled
from it canonically and with one merge in ten left out, as a model may sample them.
"""

import argparse
import json
import re
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random

from rich.console import Console
from rich.table import Table
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from rosd_core.align.find_quote import find_quote
from rosd_core.align.mask import token_range
from rosd_core.align.token_spans import TokenMap
from rosd_core.pocket.oracle import wrong_solution
from rosd_core.pocket.world import make_problem

COLUMNS = ("late", "early", "elsewhere", "right")

THRESHOLD = 80.0  # params.yaml: align.fuzzy_threshold


def spaces(quote: str, rng: Random) -> str:
    return rng.choice(
        [
            re.sub(r"\s*([-+*/=])\s*", r"\1", quote),
            re.sub(r"([-+*/=])", r" \1 ", quote),
            quote.replace(" ", "  "),
            quote.replace(" ", "\n", 1),
            quote.replace(" ", "\u00a0"),
        ]
    )


def wrapped(quote: str, rng: Random) -> str:
    frames = ('"{}"', "'{}'", "`{}`", "“{}”", '**"{}"**', "  {}\n", '"{}".')
    return rng.choice(frames).format(quote)


def typographic(quote: str, rng: Random) -> str:
    signs = {"-": "–", "'": "’", '"': "”", "*": "×", "/": rng.choice("÷/")}
    return quote.translate(str.maketrans(signs))


def emphasis(quote: str, rng: Random) -> str:
    words = quote.split(" ")
    first = rng.randrange(len(words))
    last = rng.randrange(first, len(words))
    words[first] = "**" + words[first]
    words[last] += "**"
    return " ".join(words)


def latex(quote: str, rng: Random) -> str:
    quote = re.sub(r"\s*\*\s*", lambda _: rng.choice([" \\times ", "\\cdot "]), quote)
    quote = re.sub(r"\$(\d)", r"\\$\1", quote)
    return rng.choice(("${}$", "\\({}\\)", "{}", "\\[ {} \\]")).replace("{}", quote)


def annotation(quote: str, rng: Random) -> str:
    return re.sub(r"<<.*?>>", "", quote)


def case(quote: str, rng: Random) -> str:
    return rng.choice([quote.upper(), quote.lower(), quote[:1].swapcase() + quote[1:]])


def ellipsis(quote: str, rng: Random) -> str:
    words = quote.split(" ")
    if len(words) < 6:
        return quote
    start = rng.randint(2, len(words) - 3)
    end = rng.randint(start + 1, len(words) - 2)
    gap = rng.choice([" ... ", "…", " [...] "])
    return " ".join(words[:start]) + gap + " ".join(words[end:])


def typo(quote: str, rng: Random) -> str:
    """One wrong, added or lost letter; in lines of 20 letters or more, up to two."""
    letters = list(quote)
    for _ in range(rng.randint(1, 1 + (len(quote) >= 20))):
        at, what = rng.randrange(len(letters)), rng.random()
        if what < 0.4:
            letters[at] = rng.choice("abcdefghij0123456789")
        elif what < 0.7:
            letters.insert(at, rng.choice("abcdefghij "))
        else:
            del letters[at]
    return "".join(letters)


def word(quote: str, rng: Random) -> str:
    """A word lost or added, not the first."""
    words = quote.split(" ")
    if len(words) < 5:
        return quote
    at = rng.randrange(1, len(words))
    if rng.random() < 0.5:
        del words[at]
    else:
        words.insert(at, rng.choice(["the", "a", "of", "so", "then"]))
    return " ".join(words)


def end(quote: str, rng: Random) -> str:
    cut = quote[:-1] if len(quote) > 8 else quote
    return rng.choice([quote + ".", quote.rstrip(".") + "...", quote + "\n", quote + " ", cut])


DISTURBANCES: dict[str, Callable[[str, Random], str]] = {
    "none": lambda quote, rng: quote,
    **{
        f.__name__: f
        for f in (
            spaces,
            wrapped,
            typographic,
            emphasis,
            latex,
            annotation,
            case,
            ellipsis,
            typo,
            word,
            end,
        )
    },
}


def made_texts(count: int) -> list[str]:
    rates = {"carry": 0.45, "borrow": 0.45, "regroup": 0.5}
    texts = []
    for n in range(count):
        program = make_problem(1, "story", "benchmark", n).program
        wrong = wrong_solution(program, Random(n), rates, 0.1) if program else None
        texts += [wrong.text] if wrong else []
    return texts


def read_texts(file: Path) -> list[str]:
    entries = (v for line in file.open() for v in json.loads(line).values())
    return [e["solution"] for e in entries if isinstance(e, dict) and not e["is_correct"]]


def train_tokenizer(texts: list[str]) -> Tokenizer:
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=4000,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(texts, trainer)
    return made


def lines_of(text: str) -> dict[str, int]:
    """Each different line that is not blank, and where it first stands."""
    places, at = {}, 0
    for line in text.split("\n"):
        if line.strip():
            places.setdefault(line, at)
        at += len(line) + 1
    return places


def sampled_ids(tokenizer: Tokenizer, text: str, dropout: float | None) -> list[int]:
    tokenizer.model.dropout = dropout  # pyright: ignore[reportAttributeAccessIssue]
    ids = tokenizer.encode(text).ids
    tokenizer.model.dropout = None  # pyright: ignore[reportAttributeAccessIssue]
    return ids


def published_method(texts: list[str], tokenizer: Tokenizer, console: Console) -> None:
    """Where the length of the re-encoded prefix starts, against the map, on the same quotes."""
    token_map, table = (
        TokenMap(tokenizer),
        Table("quotes", "sampling", "n", *COLUMNS),
    )
    for name in ("whole lines", "from a word within a line"):
        for how, dropout in (("canonical", None), ("1 merge in 10 left out", 0.1)):
            count = Counter()
            for n, text in enumerate(texts):
                ids = sampled_ids(tokenizer, text, dropout)
                spans = token_map.spans(ids, text)
                for line, at in lines_of(text).items():
                    starts = [at + m.start() for m in re.finditer(r"(?<=\s)\S", line)]
                    if name == "whole lines":
                        start = at
                    elif starts:
                        start = Random(f"{n}/{at}").choice(starts)
                    else:
                        continue
                    quote = text[start : at + len(line)]
                    place = text.find(quote)
                    theirs = len(tokenizer.encode(text[:place]).ids)
                    ours, _ = token_range(spans, (start, at + len(line)))
                    late = "late" if theirs > ours else "early" if theirs < ours else "right"
                    count[late if place == start else "elsewhere"] += 1
            total = sum(count.values())
            shares = (f"{100 * count[k] / total:.1f} %" for k in COLUMNS)
            table.add_row(name, how, str(total), *shares)
    console.print(
        "The length of the re-encoded prefix of the first textual match (published code):"
    )
    console.print(table)


def disturbed(texts: list[str], tokenizer: Tokenizer, console: Console) -> None:
    token_map = TokenMap(tokenizer)
    matches = ("exact", "normalised", "ellipsis", "fuzzy", "head")
    table = Table("disturbance", "n", "right token", "wrong token", "missed", *matches)
    everything: Counter[str] = Counter()
    for name, disturb in DISTURBANCES.items():
        count: Counter[str] = Counter()
        for n, text in enumerate(texts):
            spans = token_map.spans(tokenizer.encode(text).ids, text)
            for line, at in lines_of(text).items():
                quote = disturb(line, Random(f"{n}/{at}/{name}"))
                found = find_quote(quote, text, "", THRESHOLD)
                truth, _ = token_range(spans, (at, at + len(line)))
                count["n"] += 1
                if found is None:
                    count["missed"] += 1
                    continue
                count[found.match] += 1
                count["right" if token_range(spans, found.span)[0] == truth else "wrong"] += 1
        everything += count
        table.add_row(name, *_cells(count, matches))
    table.add_row("all", *_cells(everything, matches))
    console.print("Lines of the solutions as quotes, disturbed:")
    console.print(table)
    rng, false = Random(0), 0
    for _ in range(1000):
        source, other = rng.sample(texts, 2)
        quote = rng.choice(list(lines_of(source)))
        false += find_quote(quote, other, "", THRESHOLD) is not None
    console.print(f"Lines of another solution that are found all the same: {false / 10:.1f} %")


def _cells(count: Counter[str], matches: tuple[str, ...]) -> list[str]:
    shares = [f"{100 * count[k] / count['n']:.2f} %" for k in ("right", "wrong", "missed")]
    return [str(count["n"]), *shares, *(str(count[match]) for match in matches)]


def speed(texts: list[str], tokenizer: Tokenizer, console: Console) -> None:
    """Best of five over all texts; the ratio is to decoding every prefix, on the first texts."""
    token_map = TokenMap(tokenizer)
    rows = [(tokenizer.encode(text).ids, text) for text in texts]
    tokens, best = sum(len(ids) for ids, _ in rows), float("inf")
    for _ in range(5):
        started = time.perf_counter()
        for ids, text in rows:
            token_map.spans(ids, text)
        best = min(best, time.perf_counter() - started)
    few = rows[:100]
    started = time.perf_counter()
    for ids, _ in few:
        for t in range(len(ids)):
            token_map.decode(ids[: t + 1])
    slow = (time.perf_counter() - started) / sum(len(ids) for ids, _ in few)
    ratio = slow / (best / tokens)
    long = [i for ids, _ in rows for i in ids]
    started = time.perf_counter()
    token_map.spans(long, token_map.decode(long))
    one = len(long) / (time.perf_counter() - started)
    console.print(
        f"map: {tokens / best:,.0f} tokens/s on rows of {tokens / len(rows):.0f} tokens, "
        f"x{ratio:.1f} decoding every prefix; {one:,.0f} tokens/s on one row of {len(long):,}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--solutions", type=Path, help="GSM8K example_model_solutions.jsonl")
    parser.add_argument("--count", type=int, default=300, help="solutions to take (by seed 0)")
    arguments = parser.parse_args()
    texts = read_texts(arguments.solutions) if arguments.solutions else made_texts(2000)
    tokenizer, console = train_tokenizer(texts), Console(width=120)
    chosen = Random(0).sample(texts, min(arguments.count, len(texts)))
    speed(chosen, tokenizer, console)
    published_method(chosen, tokenizer, console)
    disturbed(chosen, tokenizer, console)


if __name__ == "__main__":
    main()
