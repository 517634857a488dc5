"""The reference of params.yaml as Markdown: every key with its shipped value and its comment."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

HEAD = """# Params

Every key of the shipped `params.yaml`, with its value and its comment. `rosd init` chooses values
for your model and data; there are no defaults elsewhere. Written by `rosd reference params`.
"""
LINE = re.compile(r"^(?P<indent> *)(?P<key>[\w-]+):(?: +(?P<rest>.*))?$")
LONGEST = 60  # characters of a value


@dataclass(frozen=True)
class Entry:
    """A key with its whole name; `value` is None where keys follow below it."""

    name: str
    value: str | None
    comment: str

    @property
    def section(self) -> str:
        return self.name.partition(".")[0]


def entries(text: str) -> Iterator[Entry]:
    """The keys of a params file, in its order. A comment belongs to the key on its line, or to the
    key below it where it has a line of its own.
    """
    path: list[tuple[int, str]] = []
    above: list[str] = []
    for line in text.splitlines():
        if line.lstrip().startswith("#"):
            if line.startswith(" "):  # not the head of the file
                above.append(line.strip().removeprefix("#").strip())
            continue
        found = LINE.match(line)
        if found is None:
            continue
        indent = len(found["indent"])
        path = [(at, key) for at, key in path if at < indent] + [(indent, found["key"])]
        value, comment = split_comment(found["rest"] or "")
        name = ".".join(key for _, key in path)
        yield Entry(name, value or None, " ".join([*above, comment]).strip())
        above = []


def split_comment(rest: str) -> tuple[str, str]:
    """A value and the comment behind it. A # inside of quotes is part of the value."""
    quote = None
    for place, character in enumerate(rest):
        if quote is not None:
            quote = None if character == quote and rest[place - 1] != "\\" else quote
        elif character in "\"'":
            quote = character
        elif character == "#" and (place == 0 or rest[place - 1] == " "):
            return rest[:place].strip(), rest[place + 1 :].strip()
    return rest.strip(), ""


def params_markdown(text: str) -> str:
    """The page for a params file: a table per section."""
    lines, section = [HEAD], ""
    for entry in entries(text):
        if entry.section != section:
            section = entry.section
            lines.append(f"\n## {section}\n")
            if entry.comment:
                lines.append(f"{_cell(entry.comment, table=False)}\n")
            lines.append("| key | value | |\n| --- | --- | --- |")
            if entry.value is None:
                continue
        value = "" if entry.value is None else f"`{_short(entry.value)}`"
        lines.append(f"| `{entry.name}` | {value} | {_cell(entry.comment)} |")
    return "\n".join(lines) + "\n"


def _short(value: str) -> str:
    text = value if len(value) <= LONGEST else f"{value[: LONGEST - 4]} ..."
    return text.replace("|", "\\|").replace("`", "'")


def _cell(text: str, table: bool = True) -> str:
    """A comment as Markdown that shows it as it is; what is in backticks is code."""
    parts = text.split("`")
    parts[::2] = [re.sub(r"([*_<\[\]])", r"\\\1", part) for part in parts[::2]]
    safe = "`".join(parts)
    return safe.replace("|", "\\|") if table else safe
