"""Hashes of contents: a table's values, independent of how its Parquet file was written."""

import hashlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa

from rosd_core.tables.parquet import verified

HASHED_ROWS = 64
TOKENIZER = ("tokenizer*.json", "*.jinja", "*.model", "vocab.*", "merges.txt")


def table_hash(path: Path) -> str:
    """SHA-256 over the table's columns as arrow streams of HASHED_ROWS rows: names, types and
    values, but neither units nor descriptions, nor how the rows are grouped in the file.
    """
    digest = hashlib.sha256()
    for rows in _equal_pieces(path):
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, rows.schema) as writer:
            writer.write_table(rows)
        digest.update(sink.getvalue())
    return digest.hexdigest()


def _equal_pieces(path: Path) -> Iterator[pa.Table]:
    """A table's rows, HASHED_ROWS at a time, in buffers of their own. One piece, if without any
    row, is always there.
    """
    with verified(path) as file:
        schema = pa.schema([pa.field(f.name, f.type, f.nullable) for f in file.schema_arrow])
        rest = schema.empty_table()
        for number in range(file.num_row_groups):
            rest = pa.concat_tables([rest, file.read_row_group(number).cast(schema)])
            while len(rest) > HASHED_ROWS:
                yield rest.take(np.arange(HASHED_ROWS))
                rest = rest.slice(HASHED_ROWS)
        yield rest.take(np.arange(len(rest)))


def text_hash(text: str) -> bytes:
    """SHA-256 of a text, also of one with surrogates."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def file_hash(path: Path) -> str:
    """SHA-256 of a file's bytes; computed once for a file that does not change."""
    stat = path.stat()
    return _file_hash(path, (stat.st_ino, stat.st_size, stat.st_mtime_ns))


@cache
def _file_hash(path: Path, stamp: tuple[int, int, int]) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def folder_hash(folder: Path) -> str:
    """SHA-256 over the names and contents of the files in a model's folder."""
    files = sorted(file for file in folder.iterdir() if file.is_file())
    text = "".join(f"{file.name} {file_hash(file)}\n" for file in files)
    return hashlib.sha256(text.encode()).hexdigest()


@cache
def code_hash() -> str:
    """SHA-256 over the code of rosd_core and stages, as it is on the disk."""
    root = Path(__file__).resolve().parents[2]
    files = sorted(f for name in ("rosd_core", "stages") for f in (root / name).rglob("*.py"))
    text = "".join(f"{file.relative_to(root)} {file_hash(file)}\n" for file in files)
    return hashlib.sha256(text.encode()).hexdigest()


def fingerprint(model_folder: Path) -> str:
    """16 hex digits that identify the weights of a model folder."""
    files = sorted(model_folder.glob("*model*.safetensors"))
    return hashlib.sha256("".join(map(file_hash, files)).encode()).hexdigest()[:16]


def tokenizer_fingerprint(model_folder: Path) -> str:
    """16 hex digits that identify the tokenizer of a model folder and its chat template."""
    files = [f for p in TOKENIZER for f in sorted(model_folder.glob(p))]
    named = "".join(f"{file.name} {file_hash(file)}\n" for file in files)
    return hashlib.sha256(named.encode()).hexdigest()[:16]
