"""What a table was made from, in its Parquet metadata: the key `rosd` holds it as JSON.

It names the stage and its iteration, the declared params, and a fingerprint of every input. There
is no time and no host in it, so that equal runs write equal bytes.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pyarrow as pa

from rosd_core.errors import RosdError
from rosd_core.tables.parquet import verified

FORMAT = 1  # of the tables: raise it when an old table would be misread
METADATA = b"rosd"


@dataclass(frozen=True)
class Origin:
    """A run of a stage: `params` has the values by their whole keys (`reflect.seed`), `inputs` the
    fingerprint of each table (by its path in the project), of weights (`models/base`) and of
    tokenizers (`models/base/tokenizer`).
    """

    stage: str
    key: str
    params: Mapping[str, Any]
    inputs: Mapping[str, str]

    @property
    def run(self) -> str:
        """Its name, such as `rollout-i1`."""
        return f"{self.stage}-{self.key}"

    @property
    def command(self) -> str:
        """What makes it again."""
        return f"`rosd {self.stage}`" if self.key == "all" else f"`rosd {self.stage} {self.key}`"

    def text(self) -> str:
        """All of it as JSON, with the format of the tables and the version of rosd."""
        fields = {"format": FORMAT, "version": _version(), **asdict(self)}
        return json.dumps(fields, sort_keys=True)

    def fingerprint(self) -> str:
        """16 hex digits that identify it."""
        return hashlib.sha256(self.text().encode()).hexdigest()[:16]


def _version() -> str:
    try:
        return version("rosd")
    except PackageNotFoundError:
        return "not installed"


def with_origin(schema: pa.Schema, origin: Origin | None) -> pa.Schema:
    """The schema of a table that says what it was made from."""
    return schema if origin is None else schema.with_metadata({METADATA: origin.text().encode()})


def read_origin(path: Path, made: str) -> Origin:
    """What a table was made from. Raises RosdError where it does not say so or has another format;
    `made` is the command that writes it.
    """
    with verified(path) as file:
        text = (file.schema_arrow.metadata or {}).get(METADATA)
        if text is None:
            raise RosdError(
                f"{path}: does not say what it was made from; an older rosd or another program "
                f"wrote it. Run {made} again."
            )
        fields = json.loads(text)
        found = fields.pop("format"), fields.pop("version")
        if found[0] != FORMAT:
            raise RosdError(
                f"{path}: a table of format {found[0]}, written by rosd {found[1]}; this one reads "
                f"format {FORMAT}. Run {made} again."
            )
        return Origin(**fields)


def refuse_stale(path: Path, now: Origin) -> None:
    """Raises RosdError where a table was made from something else than `now`: by another stage or
    iteration, with other params, or from other inputs, as far as `now` knows them.
    """
    found = read_origin(path, now.command)
    if (found.stage, found.key) != (now.stage, now.key):
        raise RosdError(f"{path}: is what {found.command} writes. Run {now.command} again.")
    refuse_other_params(path, found, now)
    refuse_other_inputs(path, found, now)


def refuse_other_params(path: Path, found: Origin, now: Origin) -> None:
    """The part of `refuse_stale` about params."""
    for name in sorted(found.params.keys() | now.params.keys()):
        before, after = found.params.get(name), now.params.get(name)
        if before != after:
            raise RosdError(
                f"{path}: made with {name} = {_short(before)}, but params.yaml has "
                f"{_short(after)} now. Run {now.command} again, or put it back."
            )


def refuse_other_inputs(path: Path, found: Origin, now: Origin) -> None:
    """The part of `refuse_stale` about inputs."""
    for name in sorted(found.inputs.keys() & now.inputs.keys()):
        if found.inputs[name] != now.inputs[name]:
            raise RosdError(
                f"{path}: made from another {name} than the one that is there now. Run "
                f"{now.command} again, and what follows it."
            )


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
