"""Folding: a text without what models change when they quote it, with a map back to the original.

Folded are white space, Unicode forms, dashes, quote marks, Markdown, LaTeX and case.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

Span = tuple[int, int]  # characters [start, end)

_DASHES = dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe58\ufe63\uff0d", "-")
_QUOTES = dict.fromkeys("\u2018\u2019\u201a\u201b\u2032`\u00b4", "'") | dict.fromkeys(
    "\u201c\u201d\u201e\u201f\u2033\u00ab\u00bb", '"'
)
_SIGNS = dict.fromkeys("\u00d7\u22c5\u00b7\u2217\u2022", "*") | dict.fromkeys(
    "\u00f7\u2215\u2044", "/"
)
_FOLDED = _DASHES | _QUOTES | _SIGNS

# Different spellings of the same thing. `drop` is left out; each other group stands for one sign.
_MARKUP = re.compile(
    r"""(?P<drop>
        <<[^<>\n]*>>                             # GSM8K's calculator annotation
      | \\[()\[\],;:!>]                          # LaTeX delimiters and thin spaces
      | \\(?:left|right|quad|qquad|displaystyle)(?![A-Za-z])
      | \\ (?=\s|$) | (?<!\\)\$+ | ~(?=[\d\\])
      | (?<!\w)(?:\*\*|__)(?=\S)                 # Markdown: strong, then emphasis at word edges
      | (?<=\S)(?:\*\*|__)(?!\w)
      | (?<![\w*])[*_](?=\w) | (?<=\w)[*_](?=[\s.,;:!?)\"']|$)(?!\s*[\d.(])
      | (?m:^\#{1,6}\s) | (?m:^\s*[-*>]\s(?=\S))
      | `+ | [\u200b-\u200d\u2060\ufeff\u00ad]
      | (?<=\d),(?=\d{3}(?!\d))                  # thousands
    )
    | (?P<space>\s+)
    | (?P<times>\\times(?![A-Za-z])|\\cdot(?![A-Za-z])|\\\*)
    | (?P<over>\\div(?![A-Za-z]))
    | (?P<frac>\\[dt]frac(?![A-Za-z]))
    | (?P<escaped>\\[%$&\#_{}])
    | (?P<dots>\u2026)
    """,
    re.VERBOSE,
)
_MEANT = {"times": "*", "over": "/", "frac": "\\frac", "dots": "..."}


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
        for a, b in _clusters(text, start, end):
            folded = _FOLDED.get(text[a:b])
            if folded is None:
                raised = unicodedata.decomposition(text[a]).startswith("<super>")
                folded = "^" * raised + unicodedata.normalize("NFKC", text[a:b]).casefold()
            self.put(folded, a, b)


def _between_digits(text: str, start: int, end: int) -> bool:
    return text[start - 1 : start].isdigit() and text[end : end + 1].isdigit()


def fold(text: str, annotations: bool = False, spaces: bool = False) -> Folded:
    """`text` without what models change when they quote.

    White space is dropped, except for one space between two digits (`1 1/2` is not `11/2`); with
    `spaces` one space is kept everywhere. Calculator annotations are dropped unless `annotations`.
    Linear in the length.
    """
    out, at = _Output(), 0
    for markup in _MARKUP.finditer(text):
        start, end, group = markup.start(), markup.end(), markup.lastgroup or "drop"
        out.put_plain(text, at, start)
        at = end
        if annotations and markup.group().startswith("<<"):
            out.put_plain(text, start, end)
        elif group == "space":
            if spaces or _between_digits(text, start, end):
                out.put(" ", start, end)
        elif group == "escaped":
            out.put(markup.group()[1:].replace("$", ""), start, end)
        elif group != "drop":
            out.put(_MEANT[group], start, end)
    out.put_plain(text, at, len(text))
    return Folded("".join(out.pieces), out.starts, out.ends)
