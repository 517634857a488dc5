"""One run of a study: an arm with a seed, all iterations.

in  study/<name>/shared/<seed>, models/base
out study/<name>/runs/<arm>-<seed>.parquet (table study)
"""

import json
import shutil
import time
from collections import defaultdict
from pathlib import Path

from rosd_core.config.study import Run
from rosd_core.errors import RosdError
from rosd_core.report.quantities import iteration_quantities, study_rows
from rosd_core.tables.hashing import fingerprint
from rosd_core.tables.io import write_table
from stages import align, distill, evaluate, reflect, rollout, score
from stages.paths import Paths, link_base
from stages.study_shared import shared_stages


def run_arm(run: Run, paths: Paths, home: Path) -> None:
    """The stages of the pipeline, in this process. A run that a stage stops with an error, for
    example because training diverged, ends there: its result says so. Tables are deleted at the
    end; what the study needs of them is in the result.
    """
    work, shared = home / "work" / run.name, home / "shared" / str(run.seed)
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(shared, work)
    here = Paths(work)
    link_base(paths, here)
    done = shared_stages(run.params, shared)
    found, failed = {"base": iteration_quantities(work, "base", {})}, None
    for number, iteration in enumerate(run.params.loop, 1):
        evaluated = number % run.arm.evaluate_every == 0 or number == run.arm.iterations
        seconds = defaultdict(float, done if number == 1 else {})
        try:
            for stage in (rollout, reflect, align, score, distill):
                name, started = stage.__name__.removeprefix("stages."), time.monotonic()
                if number > 1 or name not in done:
                    stage.run(run.params, here, iteration)
                    seconds[name] += time.monotonic() - started
            if evaluated:
                evaluate.run(run.params, here, iteration)
        except RosdError as stopped:
            failed = (iteration, str(stopped))
            break
        found[iteration] = iteration_quantities(work, iteration, seconds)
        _forget(here, run.params.loop[iteration].start, iteration)
    columns = {
        "arm": run.arm.label,
        "point": json.dumps(run.arm.point),
        "seed": run.seed,
        "weights": fingerprint(paths.model_folder("base")),
        "settings": json.dumps(run.settings(), sort_keys=True),
    }
    rows = study_rows(columns, found, failed)
    write_table("study", rows, home / "runs" / f"{run.name}.parquet")
    shutil.rmtree(work)


def _forget(here: Paths, start: str, iteration: str) -> None:
    """Delete what no later stage reads: the weights that the iteration started from, its tables."""
    shutil.rmtree(here.root / "iterations" / iteration)
    if start != "base":
        shutil.rmtree(here.model(start))
        shutil.rmtree(here.optimizer(start))
