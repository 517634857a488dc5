"""One run of a study: an arm with a seed, all iterations.

in  study/<name>/shared/<seed>, models/base
out study/<name>/runs/<arm>-<seed>.parquet (table study)
"""

import json
import shutil
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from rosd_core.config.study import Run
from rosd_core.errors import RosdError
from rosd_core.models.loading import release_memory
from rosd_core.report.quantities import iteration_quantities, study_rows
from rosd_core.tables.atomic import write_json
from rosd_core.tables.hashing import fingerprint
from rosd_core.tables.io import write_table
from rosd_core.tables.scratch import scratch_root
from stages import align, distill, evaluate, reflect, rollout, score
from stages.paths import Paths, link_base
from stages.study_shared import shared_stages

PROGRESS = "progress.json"


def run_arm(run: Run, paths: Paths, home: Path) -> None:
    """The stages of the pipeline, in this process. A run that a stage stops with an error, for
    example because training diverged, ends there: its result says so. Tables are deleted at the
    end; what the study needs of them is in the result. A run that was stopped goes on in the
    iteration where it was; the seconds of that iteration count from there.
    """
    work, shared = home / "work" / run.name, home / "shared" / str(run.seed)
    weights = fingerprint(paths.model_folder("base"))
    begun = {"weights": weights, "settings": run.settings()}
    found = _begin(work, shared, begun, paths)
    here, done, failed = Paths(work, paths.root), shared_stages(run.params, shared), None
    for number, iteration in enumerate(run.params.loop, 1):
        if iteration in found:
            continue
        evaluated = number % run.arm.evaluate_every == 0 or number == run.arm.iterations
        seconds = defaultdict(float, done if number == 1 else {})
        try:
            for stage in (rollout, reflect, align, score, distill):
                name, started = stage.__name__.removeprefix("stages."), time.monotonic()
                if number > 1 or name not in done:
                    stage.run(run.params, here, iteration)
                    seconds[name] += time.monotonic() - started
                    release_memory(run.params.machine.device)  # vLLM's next engine needs it
            if evaluated:
                evaluate.run(run.params, here, iteration)
        except RosdError as stopped:
            failed = (iteration, str(stopped))
            break
        found[iteration] = iteration_quantities(work, iteration, seconds)
        write_json(work / PROGRESS, begun | {"found": found})
        _forget(here, run.params.loop[iteration].start, iteration)
    columns = {
        "arm": run.arm.label,
        "point": json.dumps(run.arm.point),
        "seed": run.seed,
        "weights": weights,
        "settings": json.dumps(run.settings(), sort_keys=True),
    }
    rows = study_rows(columns, found, failed)
    write_table("study", rows, home / "runs" / f"{run.name}.parquet")
    shutil.rmtree(work)


def _begin(work: Path, shared: Path, begun: dict[str, Any], paths: Paths) -> dict[str, Any]:
    """The quantities of each iteration that a run of these settings has done in `work`, which is
    made where there is none.
    """
    file = work / PROGRESS
    told = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    if {key: told.get(key) for key in begun} == json.loads(json.dumps(begun)):
        return told["found"]
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(shared, work)
    link_base(paths, Paths(work))
    found = {"base": iteration_quantities(work, "base", {})}
    write_json(file, begun | {"found": found})
    return found


def _forget(here: Paths, start: str, iteration: str) -> None:
    """Delete what no later stage reads: the weights that the iteration started from, its tables."""
    gone = [here.root / "iterations" / iteration, scratch_root(here.root)]
    if start != "base":
        gone += [here.model(start), here.optimizer(start)]
    for folder in gone:
        shutil.rmtree(folder, ignore_errors=True)
