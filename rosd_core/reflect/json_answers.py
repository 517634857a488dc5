r"""Reading texts from answers in JSON, however broken.

Models leave the closing brace out, write another object before, nest the object, put quote marks
into strings, and leave LaTeX unescaped: `\(` is no escape, and `"\frac"` would be a form feed.
So keys are looked for, and the string or the list of strings after each is read.
"""

import json
import re
from collections.abc import Iterator

_STRING = re.compile(
    r"""\s*+" (?P<content>(?: [^"\\] | \\. | "(?!\s*+(?:[}\]] | \Z | ,\s*+["}\]])) )*+)
    (?P<end>"?+)""",
    re.VERBOSE | re.DOTALL,
)
_OPEN_LIST, _COMMA = re.compile(r"\s*+\["), re.compile(r"\s*+,")
# LaTeX commands may start like an escape; a form feed or a backspace is never meant
_ESCAPE = re.compile(
    r"""(?P<codes>(?:\\u[0-9a-fA-F]{4})+)
      | (?P<latex>\\(?: [bfr][A-Za-z]
          | n(?:abla|e|eq|eg|exists|geq|leq|mid|ot|otin|u|parallel)(?![A-Za-z])
          | t(?:an|anh|au|ext[a-z]*|frac|heta|herefore|ilde|imes|o|op|riangle)(?![A-Za-z])))
      | \\(?P<sign>.)""",
    re.VERBOSE | re.DOTALL,
)
_MEANT = {"n": "\n", "r": "\r", "t": "\t", "b": "", "f": "", '"': '"', "/": "/", "\\": "\\"}


def _meaning(escape: re.Match[str]) -> str:
    """What an escape stands for; a backslash that starts none stays."""
    if escape["codes"]:
        return json.loads(f'"{escape["codes"]}"')
    return _MEANT.get(escape["sign"], escape.group())


def _strings(text: str, at: int) -> Iterator[tuple[str, bool, int]]:
    """The string that starts at `at`, or each of a list of strings; whether it is closed, and where
    it ends.

    A quote mark in a string that no comma or bracket follows is part of it; a string that is never
    closed goes on to the end.
    """
    listed = _OPEN_LIST.match(text, at)
    found = _STRING.match(text, listed.end() if listed else at)
    while found:
        content = _ESCAPE.sub(_meaning, found["content"])
        content = content.encode("utf-8", "replace").decode()  # no lone surrogates
        yield content, found["end"] != "", found.end()
        comma = _COMMA.match(text, found.end()) if listed else None
        found = _STRING.match(text, comma.end()) if comma else None


def json_values(text: str, key: re.Pattern[str]) -> Iterator[tuple[re.Match[str], str, bool]]:
    """(match of the key, content, closed) of each string after `key`, a pattern that ends with the
    colon.

    Linear in the length.
    """
    at = 0
    while (found := key.search(text, at)) is not None:
        at = found.end()
        for content, closed, end in _strings(text, at):
            yield found, content, closed
            at = end
