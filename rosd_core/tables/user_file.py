"""Files of the user's: JSON lines, CSV or Parquet, by their ending."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import polars as pl

from rosd_core.errors import RosdError


def read_user_file(file: str, key: str) -> pl.DataFrame:
    """A file that the param `key` names. Raises RosdError naming both, and the line if it can."""
    remote = file.startswith("hf://")
    if not remote and not Path(file).is_file():
        raise RosdError(
            f"{file}: no such file ({key}). Paths count from the folder of params.yaml."
        )
    lines = partial(pl.read_ndjson, infer_schema_length=None)
    readers: dict[str, Callable[[str], pl.DataFrame]] = {
        ".jsonl": lines,
        ".ndjson": lines,
        ".json": lines,
        ".csv": partial(pl.read_csv, infer_schema_length=None),
        ".parquet": pl.read_parquet,
    }
    reader = readers.get(Path(file).suffix)
    if reader is None:
        raise RosdError(f"{file}: unknown ending; there are: {', '.join(readers)}.")
    if not remote:
        _refuse_bad_lines(Path(file), parsed=reader is lines)
    try:
        return reader(file)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        told = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise RosdError(f"{file}: cannot be read ({key}): {told}") from None


def _refuse_bad_lines(file: Path, parsed: bool) -> None:
    """Raises RosdError for the first line of a text file that is not UTF-8 or, where lines are to
    be `parsed`, not a JSON object.
    """
    if file.suffix == ".parquet":
        return
    with file.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            try:
                text = line.decode("utf-8")
            except UnicodeDecodeError as error:
                raise RosdError(
                    f"{file}: line {number} is not UTF-8: {error.reason} at byte {error.start}; "
                    "save the file as UTF-8."
                ) from None
            if not parsed or not text.strip():
                continue
            try:
                found = json.loads(text)
            except (json.JSONDecodeError, RecursionError) as error:
                raise RosdError(f"{file}: line {number} is not JSON: {error}") from None
            if not isinstance(found, dict):
                raise RosdError(
                    f"{file}: line {number} is {type(found).__name__}; each line has to be a JSON "
                    "object of its own."
                )
