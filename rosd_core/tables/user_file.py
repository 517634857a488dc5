"""Files of the user's: JSON lines, CSV or Parquet, by their ending."""

import io
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from rosd_core.errors import RosdError
from rosd_core.tables.parquet import as_frame

Parts = Iterator[pl.DataFrame]

PART_BYTES = 16 * 2**20  # of a text file that are in memory at once; a row of CSV may have so many
PART_ROWS = 64  # of a Parquet file, whose row groups are decoded one after the other


def read_user_file(file: str, key: str) -> pl.DataFrame:
    """A file that the param `key` names. Raises RosdError naming both, and the line if it can."""
    whole, _ = _readers(file, key)
    with _readable(file, key):
        return whole(file)


def read_user_parts(file: str, key: str) -> Parts:
    """The rows of a local file, in order, a part of them at a time; of a Parquet file memory holds
    a row group. Each part has the types of its own values; all columns of a CSV file are texts, and
    its blank lines are no rows. Raises RosdError as `read_user_file` does, and here at once for all
    but a file that is damaged inside.
    """
    _, parts = _readers(file, key)
    return _guarded(parts(file), file, key)


def _guarded(parts: Parts, file: str, key: str) -> Parts:
    with _readable(file, key):
        yield from parts


def _line_parts(file: str) -> Parts:
    with Path(file).open("rb") as lines:
        while block := b"".join(lines.readlines(PART_BYTES)):
            if block.strip():
                yield pl.read_ndjson(io.BytesIO(block), infer_schema_length=None)


def _csv_parts(file: str) -> Parts:
    block = pyarrow.csv.ReadOptions(block_size=PART_BYTES)
    lines = pyarrow.csv.ParseOptions(newlines_in_values=True)
    with pyarrow.csv.open_csv(file, block, lines) as first:
        names = first.schema.names
    as_text = pyarrow.csv.ConvertOptions(
        column_types=dict.fromkeys(names, pa.string()),
        null_values=[""], strings_can_be_null=True, quoted_strings_can_be_null=False,
    )  # fmt: skip
    with pyarrow.csv.open_csv(file, block, lines, as_text) as reader:
        for batch in reader:
            yield as_frame(pa.Table.from_batches([batch]))


def _parquet_parts(file: str) -> Parts:
    with pq.ParquetFile(file) as table:
        for batch in table.iter_batches(PART_ROWS):
            yield as_frame(pa.Table.from_batches([batch]))


LINES = partial(pl.read_ndjson, infer_schema_length=None), _line_parts
# ending -> what reads a file whole, and what reads it in parts
READERS: dict[str, tuple[Callable[[str], pl.DataFrame], Callable[[str], Parts]]] = {
    ".jsonl": LINES,
    ".ndjson": LINES,
    ".json": LINES,
    ".csv": (partial(pl.read_csv, infer_schema_length=None), _csv_parts),
    ".parquet": (pl.read_parquet, _parquet_parts),
}


def _readers(file: str, key: str) -> tuple[Callable[[str], pl.DataFrame], Callable[[str], Parts]]:
    """The readers of a file, which is there and, where it has lines, of lines that can be read."""
    remote = file.startswith("hf://")
    if not remote and not Path(file).is_file():
        raise RosdError(
            f"{file}: no such file ({key}). Paths count from the folder of params.yaml."
        )
    readers = READERS.get(Path(file).suffix)
    if readers is None:
        raise RosdError(f"{file}: unknown ending; there are: {', '.join(READERS)}.")
    if not remote:
        _refuse_bad_lines(Path(file), parsed=readers is LINES)
    return readers


@contextmanager
def _readable(file: str, key: str) -> Iterator[None]:
    """Turn what a library raises while it reads a file into one message."""
    polars = (pl.exceptions.PolarsError, pl.exceptions.PanicException)
    try:
        yield
    except (*polars, pa.ArrowException, OSError, ValueError) as error:
        told = str(error).splitlines()[0] if str(error) else type(error).__name__
        if told.startswith("straddling object"):
            told = f"a row has more than {PART_BYTES / 2**20:g} MiB; write the file as JSON lines."
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
