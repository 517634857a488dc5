"""Hashes of contents: a table's values, independent of how its Parquet file was written."""

import hashlib
from functools import cache
from pathlib import Path

import pyarrow as pa

from rosd_core.tables.parquet import verified

TOKENIZER = ("tokenizer*.json", "*.jinja", "*.model", "vocab.*", "merges.txt")


def table_hash(path: Path) -> str:
    """SHA-256 over the table's columns as one arrow stream: names, types and values, but neither
    units nor descriptions.
    """
    with verified(path) as file:
        table = file.read().combine_chunks()
    table = table.cast(pa.schema([pa.field(f.name, f.type, f.nullable) for f in table.schema]))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return hashlib.sha256(sink.getvalue()).hexdigest()


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
