"""The YAML header that the hub reads from a README.md, and tables in Markdown."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError


def header(data: Mapping[str, Any]) -> str:
    """YAML between two lines of `---`."""
    yaml, text = YAML(), io.StringIO()
    yaml.default_flow_style = False
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.dump(dict(data), text)
    return f"---\n{text.getvalue()}---\n"


def read_header(file: Path) -> dict[str, Any]:
    """The header of a README.md; empty where there is none that can be read."""
    if not file.is_file():
        return {}
    text = file.read_text(encoding="utf-8", errors="replace")
    if not text.startswith("---\n"):
        return {}
    try:
        data = YAML(typ="safe").load(text[4:].partition("\n---")[0])
    except YAMLError:
        return {}
    return data if isinstance(data, dict) else {}


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    cells = ([str(cell).replace("|", "\\|").replace("\n", " ") for cell in row] for row in lines)
    return "".join(f"| {' | '.join(row)} |\n" for row in cells)


def without_folders(value: Any) -> Any:
    """Settings with the last part alone of every absolute path, which says nothing to others."""
    if isinstance(value, Mapping):
        return {key: without_folders(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [without_folders(part) for part in value]
    if isinstance(value, str) and "\n" not in value and (value.startswith(("/", "~"))):
        return Path(value).name
    return value
