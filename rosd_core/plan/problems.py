"""The problems of a project, from data/problems.parquet or, before that is there, from where it
will come from.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from rosd_core.errors import RosdError
from rosd_core.plan.known import Known
from rosd_core.seeds import row_seed
from rosd_core.tables.parquet import read_frame
from rosd_core.tasks.sources import source_rows, system_of

LOOKED_AT = 64  # rows of a split whose lengths are measured
ASSUMED = 1000  # problems of a domain with `all` whose file is not there
COLUMNS = ["problem_id", "split", "system", "prompt", "answer", "solution"]

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Split:
    """How many problems, and some of them; none where their files are not there."""

    count: Known
    rows: Sequence[Row]


def from_table(file: Path) -> dict[str, Split]:
    """Both splits of the table of problems; rows are drawn by their ids."""
    splits = {}
    for split, part in read_frame(file, COLUMNS).group_by("split"):
        rows = sorted(part.to_dicts(), key=lambda row: row_seed(0, "plan", row["problem_id"]))
        splits[split[0]] = Split(Known(len(rows), "data/problems.parquet"), rows[:LOOKED_AT])
    empty = Split(Known(0, "data/problems.parquet"), [])
    return {"train": empty, "test": empty} | splits


def from_sources(domains: Mapping[str, Mapping[str, Any]], seed: int) -> dict[str, Split]:
    """Both splits as `rosd prepare` will write them; `domains` are the entries of prepare.domains.
    Duplicates are not looked for, and a file that is not there has as many problems as is assumed.
    """
    splits = {}
    for split in ("train", "test"):
        total, rows, missing = 0, [], []
        wanting = {name: d for name, d in domains.items() if d[split] != 0}
        for name, domain in wanting.items():
            found, count = _rows(name, domain, split, seed)
            total += count
            rows += found[: max(1, LOOKED_AT // len(wanting))]
            if not found:
                missing.append(name)
        origin = "params: prepare"
        if missing:
            guess = [n for n in missing if wanting[n][split] == "all"]
            told = f"assumed: {ASSUMED} each of" if guess else "params: prepare, without files of"
            origin = f"{told} {', '.join(guess or missing)}"
        splits[split] = Split(Known(total, origin), rows)
    return splits


def _rows(name: str, domain: Mapping[str, Any], split: str, seed: int) -> tuple[list[Row], int]:
    """Some rows of a domain, and how many it will have."""
    wanted = None if domain[split] == "all" else domain[split]
    file = domain.get(f"{split}_file")
    if file is not None and not Path(file).is_file():
        return [], ASSUMED if wanted is None else wanted
    looked_at = LOOKED_AT if wanted is None else min(wanted, LOOKED_AT)
    try:
        source = source_rows(name, domain, split, looked_at, seed)
    except RosdError:  # a package or a file that `rosd prepare` will name
        return [], ASSUMED if wanted is None else wanted
    count = len(source) if wanted is None and isinstance(source, list) else wanted or ASSUMED
    system = domain.get("system")
    rows = islice(source, LOOKED_AT)
    return [row | {"system": system_of(row, system)} for row in rows], count
