"""What may stand around the quoted words: quote marks, markup, step labels, comments."""

import re
from collections.abc import Iterator

from rosd_core.align.fold import Span

_MARKS = " \t\r\n\"'`*\u2018\u2019\u201c\u201d\u201e\u00ab\u00bb"
_LABEL = re.compile(
    r"""[\s*_\#>"'(\[-]{0,8}                        # markup around it
    (?: (?:step|line|part|case|item|equation|sentence|option)\s?\#?(?:\d{1,3}|[a-z])\b
      | \d{1,3}(?=[.):](?:[\s*]|\Z)) | [a-z](?=\)) | (?<=[-*>])(?=\s) )
    [\s*_)\]]{0,4}(?:[.:\u2013\u2014-](?!\.))?[\s*_)]{0,4}""",
    re.VERBOSE | re.IGNORECASE,
)
_PREFIX = re.compile(r"[^\n:\"]{2,40}:\s")
_QUOTE_MARKS = ('""', "\u201c\u201d", "``", "\u00ab\u00bb")
_EDGE = r"<<[^<>\n]{0,60}>>|\\[()\[\]]|\$+|\*+|_+|`+|[-\#>\u2022+(\[{\u201c\"]"
_OPENING = re.compile(rf"(?:{_EDGE}|\s)*+\Z")  # possessive: else `****...x` takes exponential time
_LEADING = re.compile(rf"(?:{_EDGE}|\s)*+")
_COMMAND = re.compile(r"(?:\\(?:[dtc]?frac|text[a-z]{0,2}|mathrm|mathbf|boxed|sqrt)\s?\{\s?)+\Z")
_TOKEN = re.compile(_EDGE)
_KINDS = {"$": "$", "$$": "$", "\\(": "$", "\\[": "$", "*": "-", "\u2022": "-", "+": "-"}
_NUMBER = re.compile(r"\d+|\b[a-z]\b", re.IGNORECASE)  # of a label
LONGEST_EDGE = 40  # characters of markup before a span


def unwrapped(quote: str) -> str:
    """The quote without quote marks, backticks and emphasis around it, and a full stop outside."""
    bare = quote.strip(_MARKS)
    inner = bare[:-1] if bare[-1:] in (".", ",", ";", ":") else bare
    return inner.rstrip(_MARKS) if inner.rstrip(_MARKS) != inner else bare


def label_length(text: str) -> int:
    """Characters of the step label (`Step 3:`, `**2.**`, `(b)`, `- `) that the text starts with."""
    label = _LABEL.match(text)
    return label.end() if label else 0


def unlabelled(quote: str) -> str | None:
    """The quote without its step label; None where it has none or is nothing else."""
    rest = quote[label_length(quote) :].lstrip(_MARKS)
    return rest if rest and rest != quote.lstrip(_MARKS) else None


def inner_quotes(quote: str) -> Iterator[str]:
    """What the reflector put in quote marks within the quote, or after `First error:`."""
    for first, last in _QUOTE_MARKS:
        start, end = quote.find(first), quote.rfind(last)
        if 0 <= start < end:
            yield quote[start + 1 : end].strip()
    if prefix := _PREFIX.match(quote):
        yield quote[prefix.end() :].strip(_MARKS)


def _kind(token: str) -> str:
    return _KINDS.get(token, token)


def _label_number(text: str) -> tuple[str, list[str]]:
    """The step label that the text starts with, and the numbers and letters that it counts with."""
    label = text[: label_length(text)]
    return label, [number.casefold() for number in _NUMBER.findall(label)]


def with_opening(quote: str, response: str, span: Span) -> Span:
    """The span grown over what stands right before it in the response and before the same words in
    the quote: a step label of the same number, and markup (`**`, `$`, a bracket, the mark of a list
    item). Mathematics may be delimited differently.
    """
    start, end = span
    line = max(response.rfind("\n", 0, start) + 1, start - LONGEST_EDGE)
    label, number = _label_number(quote)
    if number and _label_number(response[line:start]) == (response[line:start], number):
        start = line + next(n for n, c in enumerate(response[line:start]) if c.isalnum())
    opened = _COMMAND.search(response, line, start)
    if opened and ("frac" in opened.group() or opened.group().strip() in quote[:LONGEST_EDGE]):
        start = opened.start()
    _, inside = _label_number(response[start : start + LONGEST_EDGE])
    leading = _LEADING.match(quote, 0 if inside == number else len(label))
    wanted = [_kind(token) for token in _TOKEN.findall(leading.group() if leading else "")]
    before = _OPENING.search(response, line, start)
    edge = before.start() if before else start
    for token in reversed(list(_TOKEN.finditer(response, edge, start))):
        if wanted and _kind(token.group()) == wanted[-1]:
            start = token.start()
            wanted.pop()
        elif token.group()[0] not in "*_`":  # emphasis may be left out
            break
    return start, end
