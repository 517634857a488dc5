"""The responses of `rollout.file` that are used, as a table: the samples of some problems are found
in it without reading those of the others.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from rosd_core.tables.atomic import replacing
from rosd_core.tables.parquet import frames, read_where

SCHEMA = pa.schema(
    {
        "problem_id": pa.string(),
        "token_ids": pa.list_(pa.int32()),
        "behaviour_logp": pa.list_(pa.float32()),
        "finish_reason": pa.string(),
    }
)
GROUP_TOKENS = 2**20  # of a row group, about


@dataclass(frozen=True)
class GivenSample:
    """A response of the file; `behaviour_logp` is None where the file does not say it."""

    token_ids: list[int]
    behaviour_logp: list[float] | None
    finish_reason: str


def write_samples(path: Path, samples: Iterable[tuple[str, GivenSample]]) -> None:
    """Write samples with their problems as the table, a row group in memory at a time; it is at
    `path` when all are written.
    """
    with replacing(path) as temporary, pq.ParquetWriter(temporary, SCHEMA) as writer:
        group: list[dict[str, Any]] = []
        tokens = 0
        for problem_id, sample in samples:
            group.append({"problem_id": problem_id} | vars(sample))
            tokens += len(sample.token_ids)
            if tokens > GROUP_TOKENS:
                writer.write_table(pa.Table.from_pylist(group, SCHEMA))
                group, tokens = [], 0
        writer.write_table(pa.Table.from_pylist(group, SCHEMA))


def kept_samples(path: Path, problem_ids: Sequence[str]) -> dict[str, list[GivenSample]]:
    """The samples of these problems, in the order of the file; those without any have no entry."""
    found: dict[str, list[GivenSample]] = {}
    for row in read_where(path, "problem_id", problem_ids).iter_rows(named=True):
        found.setdefault(row.pop("problem_id"), []).append(GivenSample(**row))
    return found


def kept_sizes(path: Path) -> dict[str, int]:
    """How many samples each problem has."""
    found: dict[str, int] = {}
    for part in frames(path, ["problem_id"]):
        for problem_id, count in part["problem_id"].value_counts().iter_rows():
            found[problem_id] = found.get(problem_id, 0) + count
    return found
