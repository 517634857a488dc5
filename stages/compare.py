"""compare: the arms as one table, with paired differences to the baseline.

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
from rosd_core.tables.io import read_table
from stages.paths import Paths


def run(params: Params, paths: Paths, seeds: str = "all") -> None:
    """`seeds`: how many of params' seeds are compared."""
    p, home, trained = params.compare, paths.root / "compare", params.prepare.trained()
    chosen = p.seeds if seeds == "all" else p.seeds[: int(seeds)]
    curves, rows, last = [], [], list(params.loop)[-1]
    for method in p.methods:
        for seed in chosen:
            file = home / "arms" / f"{method}-{seed}.parquet"
            samples = read_table("evaluation", file)
            told = json.loads(file.with_suffix(".json").read_text())
            found = compare.arm_accuracy(samples, trained)
            key = {"method": method, "seed": seed}
            curves.append(found.select(*(pl.lit(v).alias(k) for k, v in key.items()), pl.all()))
            end = found.filter(iteration=last)
            values = {r["domain"]: r["accuracy"] for r in end.iter_rows(named=True)}
            values |= {f"change {r['domain']}": r["change"] for r in end.iter_rows(named=True)}
            length = samples.filter(pl.col("iteration") == last, pl.col("domain").is_in(trained))
            values["response tokens"] = length["response_tokens"].mean()
            values["supervised %"] = 100 * told["supervised_token_share"]
            values["seconds"] = sum(told["seconds"].values())
            rows += [key | {"quantity": q, "value": float(v)} for q, v in values.items()]
    results, curve = pl.DataFrame(rows), pl.concat(curves)
    e = params.evaluate
    summary = compare.summarise(results, p.baseline, e.confidence, e.bootstrap_resamples)
    for name, frame in (("results", results), ("table", summary), ("curves", curve)):
        with replacing(home / f"{name}.csv") as temporary:
            frame.write_csv(temporary, float_precision=4)
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
            compare.cells(summary, p.methods, scores, scores),
        ),
        "Change from base in points, and costs": (
            change + costs,
            compare.cells(summary, p.methods, change + costs, []),
        ),
        f"Difference to {p.baseline} at the same seed, in points": (
            scores,
            compare.differences(summary, p.methods, scores),
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
