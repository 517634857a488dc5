"""The tables of a project as a data set of the hub: a config per table, a split per iteration."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from rosd_core.report.dictionary import ROWS, describe
from rosd_core.share.header import header, table
from rosd_core.tables.origin import METADATA
from rosd_core.tables.parquet import verified

ROWS_AT_ONCE = 1024
SIZES = ((1e3, "n<1K"), (1e4, "1K<n<10K"), (1e5, "10K<n<100K"), (1e6, "100K<n<1M"),
         (1e7, "1M<n<10M"))  # fmt: skip


@dataclass(frozen=True)
class Shared:
    """A table's file in the project, and what it is called in the data set."""

    table: str  # config
    key: str  # iteration, base or all
    file: Path

    @property
    def split(self) -> str:
        """Letters, digits and underscores are allowed; `all` is reserved."""
        return self.table if self.key == "all" else self.key.replace("-", "_")

    @property
    def name(self) -> str:
        """Its file's name in the data set."""
        return f"{self.table}/{self.split}.parquet"


def write_table_for_others(shared: Shared, folder: Path) -> tuple[int, int]:
    """Copy a table without its origin, which names files and folders of this machine; rows and
    bytes. Columns keep their units and descriptions.
    """
    target = folder / shared.name
    target.parent.mkdir(exist_ok=True)
    with verified(shared.file) as source:
        schema = source.schema_arrow
        rest = {k: v for k, v in (schema.metadata or {}).items() if k != METADATA}
        schema = schema.with_metadata(rest or None)
        with pq.ParquetWriter(target, schema, compression="zstd") as writer:
            for batch in source.iter_batches(ROWS_AT_ONCE):
                writer.write_table(pa.Table.from_batches([batch]).cast(schema))
        return source.metadata.num_rows, target.stat().st_size


def dataset_card(
    name: str, files: Sequence[tuple[Shared, int, int]], method: str, base: str
) -> str:
    """The README.md: which files each config has, their rows and bytes, and the columns of each
    table.
    """
    tables = list(dict.fromkeys(shared.table for shared, _, _ in files))
    first = next((s for s, _, _ in files if s.table == "rollouts"), files[0][0])
    rows = [
        [f"`{s.table}`", f"`{s.split}`", str(count), f"{size / 1e6:.2f} MB"]
        for s, count, size in files
    ]
    text = f"""{_header(tables, files)}
# {name}

The tables of a run of [ROSD](https://arxiv.org/abs/2605.28014), reflective on-policy
self-distillation: method `{method}`, base model `{base}`. Each table is a config, each iteration a
split.

```python
from datasets import load_dataset

data = load_dataset("{name}", "{first.table}", split="{first.split}")
```

Token columns of a row run in parallel. Log-probabilities are natural logarithms.

{table(["config", "split", "rows", "size"], rows)}"""
    for one in tables:
        columns = [
            [f"`{c}`", arrow_type, unit, meaning] for c, arrow_type, unit, meaning in describe(one)
        ]
        text += f"\n## {one}\n\nA row is {ROWS[one]}.\n\n"
        text += table(["column", "type", "unit", "meaning"], columns)
    return text


def _header(tables: Sequence[str], files: Sequence[tuple[Shared, int, int]]) -> str:
    rows = sum(count for _, count, _ in files)
    configs: list[dict[str, Any]] = [
        {
            "config_name": one,
            "data_files": [
                {"split": s.split, "path": s.name} for s, _, _ in files if s.table == one
            ],
        }
        for one in tables
    ]
    if "rollouts" in tables:
        configs[tables.index("rollouts")]["default"] = True
    return header(
        {
            "tags": ["rosd", "self-distillation"],
            "task_categories": ["text-generation"],
            "size_categories": [next((text for most, text in SIZES if rows < most), "n>10M")],
            "configs": configs,
        }
    )
