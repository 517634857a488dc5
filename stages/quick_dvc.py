"""What DVC does between two stages, in less time and with the same result, byte by byte.

After each stage DVC parses dvc.lock and writes all of it again, in pure Python: as much work as
loading a model. Here the entry of that stage takes the place of the old one in the text. And DVC
parses params.yaml three times for each stage: here every text is parsed once.

In one case the result is another: ruamel.yaml, with which DVC writes the file, breaks some long
texts at a place where reading them adds or loses a space, as in a prompt with LaTeX or two spaces
in a row. Their stage would be stale for ever; its entry is written without line breaks instead.
"""

import io
import pickle
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

HEAD = "schema: '2.0'\nstages:\n"  # how DVC begins the file
SHORT = 50  # characters of a text whose line is not broken
RISKY = re.compile(r"\\|  |[^\S \n]|[^ -~\n]")  # what a text has that may be broken wrongly


def with_entry(text: str, entry: str) -> str | None:
    """The text of a lock file with a stage's entry, whose first line is the stage's name, in the
    place of the old one, or at the end. None for a text that DVC would not have written.
    """
    body = text.removeprefix(HEAD)
    if body == text or any(line and not line.startswith("  ") for line in body.split("\n")):
        return None
    entries = re.split(r"^(?=  \S)", body, flags=re.MULTILINE)[1:]
    by_name = {old.partition("\n")[0]: old for old in entries}
    by_name[entry.partition("\n")[0]] = entry
    return HEAD + "".join(by_name.values()) if body.startswith("  ") else None


def exact_yaml(data: Any) -> str:
    """The text that DVC writes for data; where that would be read as other data, without broken
    lines.
    """
    from dvc.utils.serialize import dumps_yaml
    from ruamel.yaml import YAML

    text = dumps_yaml(data)
    if not any(len(value) > SHORT and RISKY.search(value) for value in _texts(data)):
        return text
    if YAML(typ="safe").load(text) == data:
        return text
    yaml, stream = YAML(), io.StringIO()
    yaml.default_flow_style, yaml.width = False, sys.maxsize
    yaml.dump(data, stream)
    return stream.getvalue()


def _texts(data: Any) -> Iterator[str]:
    """All strings in nested lists and mappings, but for keys."""
    if isinstance(data, str):
        yield data
    elif isinstance(data, Mapping | list | tuple):
        for value in data.values() if isinstance(data, Mapping) else data:
            yield from _texts(value)


@contextmanager
def quick_dvc() -> Iterator[None]:
    """Have DVC work so in this process."""
    with _lock_by_entry(), _parsed_once():
        yield


@contextmanager
def _parsed_once() -> Iterator[None]:
    from dvc.utils import strictyaml
    from dvc.utils.serialize import _yaml

    parse, known = _yaml.parse_yaml, {}

    def parse_yaml(text: str, path: str, typ: str = "safe") -> Any:
        if typ != "safe":
            return parse(text, path, typ)
        if text not in known:
            known[text] = pickle.dumps(parse(text, path))
        return pickle.loads(known[text])  # a copy for each caller, as if it were parsed

    _yaml.parse_yaml = strictyaml.parse_yaml = parse_yaml
    try:
        yield
    finally:
        _yaml.parse_yaml = strictyaml.parse_yaml = parse


@contextmanager
def _lock_by_entry() -> Iterator[None]:
    from dvc.dvcfile import Lockfile, logger
    from dvc.stage.serialize import to_lockfile

    whole = Lockfile.dump_stages

    def dump_stages(self: Any, stages: list[Any], **kwargs: Any) -> None:
        path = Path(self.path)
        old = new = path.read_text(encoding="utf-8") if path.is_file() else ""
        for stage in stages:
            entry = exact_yaml({"stages": to_lockfile(stage, **kwargs)})
            new = new and with_entry(new, entry.removeprefix("stages:\n"))
        if not new:  # DVC begins a file
            whole(self, stages, **kwargs)
        elif new != old:
            logger.info("Updating lock file '%s'", self.relpath)
            path.write_text(new, encoding="utf-8")
            self.repo.scm_context.track_file(self.relpath)

    Lockfile.dump_stages = dump_stages
    try:
        yield
    finally:
        Lockfile.dump_stages = whole
