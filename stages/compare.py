"""compare: all arms in one table, with paired differences to the baseline.

in  compare/arms/<method>-<seed>.parquet and .json, for the methods and seeds of params
out compare/results.csv, compare/table.csv, compare/table.md, compare/curves.csv, compare/curves.png
"""

import json

import polars as pl
from rich.console import Console
from rich.table import Table

from rosd_core.config.params import Params
from rosd_core.report import compare
from rosd_core.tables.atomic import replacing
from rosd_core.tables.io import read_table, write_csv
from stages.paths import Paths


def run(params: Params, paths: Paths, seeds: str = "all") -> None:
    """`seeds`: how many of the seeds in params, or `all`."""
    p, home, trained = params.compare, paths.root / "compare", params.prepare.trained()
    chosen = p.seeds if seeds == "all" else p.seeds[: int(seeds)]
    curves, rows, last = [], [], list(params.loop)[-1]
    for method in p.methods:
        for seed in chosen:
            file = home / "arms" / f"{method}-{seed}.parquet"
            samples = read_table("evaluation", file)
            costs = json.loads(file.with_suffix(".json").read_text())
            accuracy = compare.arm_accuracy(samples, trained)
            key = {"method": method, "seed": seed}
            curves.append(accuracy.select(*(pl.lit(v).alias(k) for k, v in key.items()), pl.all()))
            values = compare.arm_values(accuracy, samples, trained, last, costs)
            rows += [key | {"quantity": q, "value": float(v)} for q, v in values.items()]
    results, curve = pl.DataFrame(rows), pl.concat(curves)
    e = params.evaluate
    summary = compare.summarise(results, p.baseline, e.confidence, e.bootstrap_resamples)
    for name, frame in (("results", results), ("table", summary), ("curves", curve)):
        write_csv(frame, home / f"{name}.csv", 4)
    with replacing(home / "curves.png") as temporary:
        compare.draw(curve, p.methods, temporary)
    write_tables(params, paths, summary, len(chosen))


def write_tables(params: Params, paths: Paths, summary: pl.DataFrame, seeds: int) -> None:
    """The three tables, on the console and as Markdown."""
    p, domains = params.compare, list(params.prepare.domains)
    change = [f"change {compare.IN}", f"change {compare.OUT}"]
    scores = [compare.IN, compare.OUT, *(d for d in domains if d not in params.prepare.trained())]
    costs = ["response tokens", "supervised %", "seconds"]
    percent = f"{100 * params.evaluate.confidence:.0f} %"
    tables = {
        f"mean@{params.evaluate.samples} in percent, mean of {seeds} seeds [{percent} interval]": (
            scores,
            compare.mean_cells(summary, p.methods, scores, scores),
        ),
        "Change from base in points, and costs": (
            change + costs,
            compare.mean_cells(summary, p.methods, change + costs, []),
        ),
        f"Difference to {p.baseline} at the same seed, in points": (
            scores,
            compare.difference_cells(summary, p.methods, scores),
        ),
    }
    text = []
    for title, (columns, rows) in tables.items():
        text.append(f"{title}\n\n{compare.markdown(['method', *columns], rows)}")
        table = Table("method", *columns, title=title)
        for row in rows:
            table.add_row(*row)
        Console(width=200).print(table)
    with replacing(paths.root / "compare" / "table.md") as temporary:
        temporary.write_text("\n".join(text), encoding="utf-8")


if __name__ == "__main__":
    from stages.cli import main

    main("compare")
