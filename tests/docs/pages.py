"""The code in the documentation: blocks by language, and words in backticks."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from tests.support import ROOT

PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md")]
PAGES += sorted(set((ROOT / "docs").glob("*.md")) - {ROOT / "docs" / "commands.md"})  # generated
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`([^`]+)`")


def blocks(page: Path, *languages: str) -> list[str]:
    """The fenced blocks of a page in one of these languages; "" is a block without one."""
    found = BLOCK.findall(page.read_text(encoding="utf-8"))
    return [text for language, text in found if language in languages]


def inline(page: Path) -> list[str]:
    """The code in backticks, outside of blocks, each in one line."""
    text = BLOCK.sub("", page.read_text(encoding="utf-8"))
    return [" ".join(code.split()) for code in INLINE.findall(text)]


def commands(text: str) -> Iterator[list[str]]:
    """The words of each command in some lines of shell; lines that are none, such as output, may
    give nonsense. Brackets around optional words are dropped.
    """
    for line in text.splitlines():
        lexer = shlex.shlex(line.removeprefix("$ "), posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        words: list[str] = []
        try:
            for word in lexer:
                if set(word) <= set("&|;<>()"):
                    yield words
                    words = []
                else:
                    words.append(word.strip("[]"))
        except ValueError:  # an apostrophe: a line of output
            continue
        yield words
