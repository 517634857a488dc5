"""Files of the user's: JSON lines, CSV or Parquet, by their ending."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import polars as pl

from rosd_core.errors import RosdError


def read_user_file(file: str, key: str) -> pl.DataFrame:
    """A file that the param `key` names. Raises RosdError naming both."""
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
    try:
        return reader(file)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise RosdError(f"{file}: cannot be read: {error}") from None
