"""Hashes of contents: of a table's values, however its Parquet file was written."""

import hashlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq


def table_hash(path: Path) -> str:
    """SHA-256 over the table's columns as one arrow stream, without schema metadata."""
    table = pq.read_table(path).combine_chunks().replace_schema_metadata()
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return hashlib.sha256(sink.getvalue()).hexdigest()


def file_hash(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
