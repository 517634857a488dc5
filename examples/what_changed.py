"""Problems that an iteration got wrong and a later one gets right, with the idea in between.

    python examples/what_changed.py [--before i1] [--after i2]

Reads rollouts and reflections with polars. Both iterations draw their problems at random: only
those that both drew can be compared.
"""

import sys
from pathlib import Path

import polars as pl
import typer

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from rosd_core.terminal import printable


def success(rollouts: pl.DataFrame, name: str) -> pl.DataFrame:
    """The share of successes of each problem, as the column `name`."""
    return rollouts.group_by("problem_id").agg(pl.col("success").mean().alias(name))


def changed(
    before: pl.DataFrame, after: pl.DataFrame, reflections: pl.DataFrame
) -> tuple[pl.DataFrame, int]:
    """Problems whose share of successes rose, largest rise first, with an idea that their wrong
    responses of `before` got (the most frequent one; null where none did), and how many problems
    both iterations have.
    """
    ideas = (
        reflections.filter(kind="wrong", status="ok")
        .group_by("problem_id", "idea")
        .len()
        .sort("problem_id", "len", "idea", descending=[False, True, False])
        .group_by("problem_id", maintain_order=True)
        .agg(pl.col("idea").first())
    )
    both = success(before, "before").join(success(after, "after"), "problem_id")
    rose = both.filter(pl.col("after") > pl.col("before")).join(ideas, "problem_id", how="left")
    order = pl.col("after") - pl.col("before")
    return rose.sort(order, "problem_id", descending=[True, False]), len(both)


def main(before: str = "i1", after: str = "i2", project: Path = Path()) -> None:
    folders = {key: project / "iterations" / key for key in (before, after)}
    files = [folders[before] / "rollouts.parquet", folders[after] / "rollouts.parquet"]
    files.append(folders[before] / "reflections.parquet")
    if missing := [file for file in files if not file.is_file()]:
        raise SystemExit(f"{missing[0]}: no such file; run `dvc repro` first.")
    rose, both = changed(*map(pl.read_parquet, files))
    print(f"{both} problems are in {before} and {after}; {len(rose)} of them rose.\n")
    prompts = pl.read_parquet(
        project / "data" / "problems.parquet", columns=["problem_id", "prompt"]
    )
    for row in rose.join(prompts, "problem_id", maintain_order="left").iter_rows(named=True):
        idea = "none" if row["idea"] is None else printable(row["idea"])
        print(f"{row['before']:4.0%} -> {row['after']:4.0%}  {printable(row['prompt'])}")
        print(f"    idea: {idea}")


if __name__ == "__main__":
    typer.run(main)
