"""study: the runs of study/<name>.yaml that are missing, then its tables and figures.

in  study/<name>.yaml, models/base
out study/<name>/results.parquet (table study), tables.md, *.png
"""

import json
import multiprocessing
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from rosd_core.config.params import Params
from rosd_core.config.study import Run, Study, load_study, runs_of, shared_params
from rosd_core.report.paired import over_seeds
from rosd_core.report.study_figures import all_figures
from rosd_core.report.study_tables import study_markdown
from rosd_core.tables.atomic import replacing
from rosd_core.tables.hashing import fingerprint
from rosd_core.tables.io import read_table, write_table
from rosd_core.tables.progress import Report, quiet, silent
from rosd_core.workers.pool import Work, results
from stages.engines import workers
from stages.paths import Paths
from stages.study_results import read_outcome
from stages.study_run import run_arm
from stages.study_shared import make_shared


def run(params: Params, paths: Paths, name: str, jobs: int = 1, only_report: bool = False) -> None:
    """`jobs` processes on this machine work on runs, or `engine.workers` Ray workers. A run that is
    done is written at once; a study that was stopped continues with the missing ones.
    """
    study, home = load_study(paths.root / "study" / f"{name}.yaml"), paths.root / "study" / name
    runs, weights = runs_of(study, params), fingerprint(paths.model_folder("base"))
    done = collect(home, runs, weights)
    missing = [r for r in runs if (r.arm.label, r.seed) not in done]
    if not quiet():
        print(f"rosd study: {len(runs)} runs, {len(missing)} of them to do", file=sys.stderr)
    if missing and not only_report:
        seeds = list(dict.fromkeys(r.seed for r in missing))
        shared = [
            partial(make_shared, shared_params(study, params, s), paths, home / "shared" / str(s))
            for s in seeds
        ]
        everywhere(shared, params, jobs)
        everywhere([partial(run_arm, r, paths, home) for r in missing], params, jobs)
        done = collect(home, runs, weights)
    if done:
        write_report(study, params, home)
        print((home / "tables.md").read_text(encoding="utf-8"))


def collect(home: Path, runs: Sequence[Run], weights: str) -> set[tuple[str, int]]:
    """Put the results of single runs into results.parquet, which keeps those of the study as it is
    now; (arm, seed) of all that it has then. A file with others is kept as left-out-<number>.
    """
    files = [home / "results.parquet", *sorted((home / "runs").glob("*.parquet"))]
    files = [file for file in files if file.is_file()]
    tables = [read_table("study", file) for file in files]
    if not tables:
        return set()
    found = pl.concat(tables)
    wanted = {(r.arm.label, r.seed): r for r in runs}
    heads = found.select("arm", "seed", "weights", "settings").unique(maintain_order=True)
    valid = {
        (arm, seed): settings
        for arm, seed, of, settings in heads.iter_rows()
        if of == weights and (arm, seed) in wanted
        and wanted[arm, seed].is_of(json.loads(settings))
    }  # fmt: skip
    order = [(arm, seed, valid[arm, seed]) for arm, seed in wanted if (arm, seed) in valid]
    schema = {"arm": pl.String, "seed": pl.Int32, "settings": pl.String}
    keep = pl.DataFrame(order, schema, orient="row")
    if dropped := len(heads) - len(valid):
        for file, table in zip(files, tables, strict=True):
            if len(table.join(keep, list(schema), "anti")):
                kept = _set_aside(file, home)
                print(f"rosd study: {file} -> {kept}", file=sys.stderr)
        print(f"rosd study: {dropped} results of other settings are left out", file=sys.stderr)
    if not valid:
        return set()
    rows = keep.join(found, list(schema), maintain_order="left_right").unique(
        ["arm", "seed", "iteration", "quantity"], keep="last", maintain_order=True
    )
    write_table("study", rows.to_dicts(), home / "results.parquet")
    for file in files:
        if file.parent != home:
            file.unlink(missing_ok=True)  # it may have been set aside
    return set(valid)


def _set_aside(file: Path, home: Path) -> Path:
    """Move a file with results that are not of the study as it is now; where it is then."""
    number = 1 + len(list(home.glob("left-out-*.parquet")))
    return file.rename(home / f"left-out-{number}.parquet")


def everywhere(tasks: Sequence[Callable[[], None]], params: Params, jobs: int) -> None:
    """Run tasks in order: here, in `jobs` processes, or on Ray workers."""
    started, count = time.monotonic(), len(tasks)

    def report(done: int) -> None:
        spent = time.monotonic() - started
        left = spent / done * (count - done) / 60
        if not quiet():
            print(f"rosd study: {done}/{count}, {left:.0f} min left", file=sys.stderr, flush=True)

    if jobs > 1:
        pool = ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"))
        try:
            futures = [pool.submit(task) for task in tasks]
            for number, future in enumerate(as_completed(futures), 1):
                future.result()
                report(number)
        finally:  # after an interrupt, runs that are under way end, and no other starts
            pool.shutdown(cancel_futures=True)
        return
    where = workers(params.machine, params.engine)
    for number, _ in enumerate(results(_open, [[task] for task in tasks], where, silent), 1):
        report(number)


def write_report(study: Study, params: Params, home: Path) -> None:
    """Tables and figures of the results that are there."""
    e, found = params.evaluate, read_outcome(study, params, home)
    interval = over_seeds(e.confidence, e.bootstrap_resamples)
    with replacing(home / "tables.md") as temporary:
        temporary.write_text(study_markdown(study, found, interval, e.samples), encoding="utf-8")
    all_figures(found, interval, home)


def _open(report: Report) -> Work:
    def work(shard: Sequence[Callable[[], None]]) -> list[Any]:
        for task in shard:
            task()
        return []

    return work


if __name__ == "__main__":
    from stages.cli import main

    main("study")
