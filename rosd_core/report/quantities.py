"""What a study keeps of an iteration: the numbers of its metrics files, and how responses begin."""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rosd_core.tables.io import read_table

STAGES = ("rollout", "reflect", "align", "score", "distill", "evaluate")
_OPENING = re.compile(r"\s*([^\W\d_]+|\d+|\S)?")


def opening(response: str) -> str:
    """The first word, number or sign of a response; all numbers count as the same."""
    found = _OPENING.match(response)
    first = (found and found[1]) or ""
    return "0" if first.isdigit() else first


def opening_shift(before: Sequence[str], after: Sequence[str]) -> float:
    """How differently responses begin: the total variation distance of their openings, 0..1.

    1/2 sum over openings of |share before - share after|. A student that takes over the style of
    what its teacher reads shows it here first.
    """
    shares = [
        {word: count / len(texts) for word, count in Counter(map(opening, texts)).items()}
        for texts in (before, after)
    ]
    words = shares[0].keys() | shares[1].keys()
    return sum(abs(shares[0].get(w, 0.0) - shares[1].get(w, 0.0)) for w in words) / 2


def numbers(data: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, float]]:
    """The numbers in nested metrics, each with the path of its keys."""
    for key, value in data.items():
        name = f"{prefix}.{key}"
        if isinstance(value, Mapping):
            yield from numbers(value, name)
        elif isinstance(value, int | float):
            yield name, float(value)


def iteration_quantities(
    root: Path, iteration: str, seconds: Mapping[str, float]
) -> dict[str, float]:
    """Quantities of an iteration of the project in `root`; of base, those of its evaluation. The
    evaluation may be missing.
    """
    found = {f"seconds.{stage}": value for stage, value in seconds.items()}
    for stage in STAGES:
        file = root / "metrics" / f"{stage}-{iteration}.json"
        if file.is_file():
            found |= numbers(json.loads(file.read_text(encoding="utf-8")), stage)
    evaluation = root / "evaluations" / f"{iteration}.parquet"
    if evaluation.is_file():
        found |= _shifts(root / "evaluations" / "base.parquet", evaluation)
    return found


def _shifts(base: Path, file: Path) -> dict[str, float]:
    texts = []
    for table in (base, file):
        rows = read_table("evaluation", table, ["domain", "response"])
        texts.append(dict(rows.group_by("domain", maintain_order=True).agg("response").iter_rows()))
    return {
        f"opening_shift.{domain}": opening_shift(texts[0][domain], responses)
        for domain, responses in texts[1].items()
    }


def study_rows(
    run: Mapping[str, Any],
    quantities: Mapping[str, Mapping[str, float]],
    failed: tuple[str, str] | None,
) -> list[dict[str, Any]]:
    """Rows of the table `study`, given the columns that name the run and iteration -> quantities;
    `failed` is the iteration that a stage stopped with an error, and its message.
    """
    rows = [
        {**run, "iteration": iteration, "quantity": quantity, "value": value, "note": None}
        for iteration, values in quantities.items()
        for quantity, value in values.items()
    ]
    if failed is not None:
        iteration, note = failed
        row = {"iteration": iteration, "quantity": "failed", "value": 1.0, "note": note}
        rows.append({**run, **row})
    return rows
