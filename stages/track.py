"""rosd track: the results of all iterations to the tracker that params name.

in  curves/<iteration>.csv, metrics/*.json, evaluations/*.parquet
out the tracker's run; .rosd/track.json (which runs were sent)
"""

import json
from pathlib import Path

from rosd_core.config.params import Params
from rosd_core.errors import RosdError
from rosd_core.report.quantities import iteration_quantities
from rosd_core.tables.atomic import write_json
from rosd_core.tables.io import read_csv
from rosd_core.track.points import curve_points, digest, flat, iteration_points
from rosd_core.track.trackers import Run, send
from stages.origin import refuse_stale_iterations, report_origin
from stages.paths import Paths

# how results are shown and how fast they are made: a run does not depend on it
WITHOUT = {"bootstrap", "finetune", "engine", "report", "track"}


def run(params: Params, paths: Paths) -> str:
    """Send the results unless they were sent; what to tell the user. Equal settings and results
    are one run of the tracker, and others are another.
    """
    track = params.track
    if track is None or track.to == "none":
        raise RosdError(
            "params.yaml: track.to is none; write track: {to: trackio, project: NAME}, or "
            "tensorboard or wandb."
        )
    refuse_stale_iterations(params, paths, list(params.loop))
    report_origin(params, paths)
    settings = params.model_dump(mode="json", exclude=WITHOUT)
    points = curve_points({key: read_csv(paths.curve(key)) for key in params.loop})
    points += iteration_points(
        {key: iteration_quantities(paths.root, key, {}) for key in ("base", *params.loop)}
    )
    identity = digest(settings, points)
    file, place = paths.root / ".rosd" / "track.json", f"{track.to}:{track.project}/{identity}"
    sent = _sent(file)
    if place in sent:
        return f"{track.project}/{identity} was sent before: {sent[place]}"
    done = Run(track.project, identity, flat(settings), points)
    sent[place] = send(track.to, done, paths.root / ".rosd")
    file.parent.mkdir(exist_ok=True)
    write_json(file, sent)
    return (
        f"{track.project}/{identity}: {len(points)} points sent. Look at them with: {sent[place]}"
    )


def _sent(file: Path) -> dict[str, str]:
    """Where runs were sent: `tracker:project/id` -> how to look at it."""
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError:
        raise RosdError(f"{file}: not valid JSON; delete it, and runs are sent again.") from None
