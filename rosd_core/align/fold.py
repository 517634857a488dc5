"""Folding: a text without what models change when they quote it, with a map back to the original.

Folded are white space, Unicode forms, dashes, quote marks, brackets, Markdown, case, and the ways
to write mathematics: LaTeX, Unicode and plain text.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from rosd_core.align.signs import COMMANDS, DROPPED, ENTITIES, SIGNS, fraction_bars

Span = tuple[int, int]  # characters [start, end)

# Different spellings of the same thing. `drop` is left out; each other group stands for one sign.
_MARKUP = re.compile(
    r"""(?P<drop>
        <<[^<>\n]*>>                             # GSM8K's calculator annotation
      | \\\\?[()\[\]] | \\[,;:!>] | \\\\? (?=\s|$)   # LaTeX delimiters, thin spaces, line breaks
      | \\(?:begin|end)\{[A-Za-z]{1,12}\*?\}
      | \\?\$+ | ~(?!=)
      | (?<!\w)\*\*(?=\S) | (?<=\S)\*\*(?!\w)    # Markdown: strong, then emphasis at word edges
      | (?<![\w*])\*(?=\w) | (?<=\w)\*(?=[\s.,;:!?)\"']|$)(?!\s*[\d.(])
      | (?m:^\#{1,6}\s)
      | `+ | [\u200b-\u200d\u2060\ufeff\u00ad]
      | (?<=\d)\{?,\}?(?=\d{3}(?!\d))            # thousands
    )
    | (?P<circle>\^\s?\{?\\circ(?![A-Za-z])\}? | (?<=\d)\s?degrees?(?![A-Za-z]))
    | (?P<times>\\\* | (?<=[\d%)])\s{1,3}[xX]\s{1,3}(?=[\d$(.\\]) | (?<=\d)[xX](?=\d))
    | (?P<space>
        (?:(?m:^)|[^\S\n]*\n\s*)[-*>\u2022]\s(?=\S)   # the mark of a list item
      | (?:[^\S\n]|[(){}\[\]_])+ | \s+ | \\[{}_]
    )
    | \\\\?[dtc]?frac\s?(?P<above>\d)\s?(?P<below>\d)
    | \\\\?(?P<command>[A-Za-z]+)
    | (?P<entity>&(?:lt|gt|quot|amp|\#39);|\\?&)
    | (?P<escaped>\\[%\#])
    | (?P<raised>[\u2070\u00b9\u00b2\u00b3\u2074-\u207f]+)
    | (?P<pair>\+/-|~=)
    """,
    re.VERBOSE,
)
_WHITE = re.compile(r"\s")
_PAIRS = {"+/-": "+-", "~=": "\u2248"}


@dataclass(frozen=True)
class Folded:
    """Folded text, and for each of its characters the characters [start, end) of the original."""

    text: str
    starts: Sequence[int]
    ends: Sequence[int]

    def original(self, start: int, end: int) -> Span:
        return self.starts[start], self.ends[end - 1]


def _clusters(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Each character with the combining marks after it: [start, end) in `text`."""
    at = start
    while at < end:
        after = at + 1
        while after < end and unicodedata.combining(text[after]):
            after += 1
        yield at, after
        at = after


@lru_cache(maxsize=65_536)
def _plain(letter: str) -> str:
    """A character that is no ASCII: the sign that it stands for, the name of a Greek letter, or its
    compatibility form in lower case.
    """
    if (sign := SIGNS.get(letter)) is not None:
        return sign
    raised = "^" * unicodedata.decomposition(letter[0]).startswith("<super>")
    forms = unicodedata.normalize("NFKC", letter).casefold()
    return raised + "".join(SIGNS.get(form) or _greek(form) or form for form in forms)


@lru_cache(maxsize=65_536)
def _greek(letter: str) -> str | None:
    name = unicodedata.name(letter, "")
    if name == "GREEK SMALL LETTER LAMDA":
        return "lambda"
    return name[19:].lower() if re.fullmatch("GREEK SMALL LETTER [A-Z]+", name) else None


class _Output:
    """Folded text as it grows, with the original characters of each piece."""

    def __init__(self) -> None:
        self.pieces: list[str] = []
        self.starts: list[int] = []
        self.ends: list[int] = []

    def put(self, folded: str, start: int, end: int) -> None:
        self.pieces.append(folded)
        self.starts.extend([start] * len(folded))
        self.ends.extend([end] * len(folded))

    def put_plain(self, text: str, start: int, end: int) -> None:
        """Fold characters that are no markup, one by one."""
        piece = text[start:end]
        if piece.isascii():
            self.pieces.append(piece.lower())
            self.starts.extend(range(start, end))
            self.ends.extend(range(start + 1, end + 1))
            return
        for a, b in _clusters(text, start, end):
            self.put(_plain(text[a:b]), a, b)


def _between_digits(text: str, start: int, end: int) -> bool:
    return text[start - 1 : start].isdigit() and text[end : end + 1].isdigit()


def _meaning(markup: re.Match[str]) -> str:
    """What markup other than white space stands for."""
    group, found = markup.lastgroup, markup.group()
    if group == "command":
        name = markup["command"]
        return "" if name in DROPPED else COMMANDS.get(name, name.lower().removeprefix("var"))
    if group == "below":
        return f"{markup['above']}/{markup['below']}"
    if group == "raised":
        return "^" + "".join(map(_plain, found)).replace("^", "")
    if group == "entity":
        return ENTITIES.get(found, "")
    meant = {"circle": "\u00b0", "times": "*", "escaped": found[1:], "pair": _PAIRS.get(found, "")}
    return meant.get(group or "drop", "")


def fold(text: str, annotations: bool = False, spaces: bool = False) -> Folded:
    """`text` without what models change when they quote.

    White space, brackets and underscores are dropped, except for one space between two digits
    (`1 1/2` is not `11/2`); with `spaces` one space is kept everywhere. Fractions become a/b.
    Calculator annotations are dropped unless `annotations`. Linear in the length.
    """
    out, at, bars = _Output(), 0, fraction_bars(text)
    for markup in _MARKUP.finditer(text):
        start, end = markup.span()
        out.put_plain(text, at, start)
        at = end
        if annotations and text.startswith("<<", start) and end - start > 2:
            out.put_plain(text, start, end)
        elif markup.lastgroup == "space":
            if bars and not bars.isdisjoint(range(start, end)):
                out.put("/", start, end)
            elif (spaces and _WHITE.search(markup.group())) or _between_digits(text, start, end):
                out.put(" ", start, end)
        elif meaning := _meaning(markup):
            out.put(meaning, start, end)
    out.put_plain(text, at, len(text))
    return Folded("".join(out.pieces), out.starts, out.ends)


@lru_cache(maxsize=8)
def fold_once(text: str, annotations: bool = False, spaces: bool = False) -> Folded:
    """`fold` of a response, kept while its quotes are searched one after the other, or of a quote
    that is searched in several ways.
    """
    return fold(text, annotations, spaces)
