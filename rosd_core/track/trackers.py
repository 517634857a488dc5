"""Trackers: a function per value of `track.to`, which sends a run and says where to look at it.

A run that was sent before, or in part, is replaced (tensorboard, trackio) or gone on with under the
same id (wandb, which ignores points that it has).
"""

import shutil
import sys
from collections.abc import Callable
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rosd_core.errors import RosdError
from rosd_core.track.points import Point


@dataclass(frozen=True)
class Run:
    """A run as a tracker knows it; `id` depends on its settings and points alone."""

    project: str
    id: str
    settings: dict[str, Any]  # flat
    points: list[Point]


def tensorboard(run: Run, folder: Path) -> str:
    """Event files in `folder`/tensorboard."""
    from torch.utils.tensorboard import SummaryWriter  # needs the package tensorboard

    logs = folder / "tensorboard" / run.project / run.id
    shutil.rmtree(logs, ignore_errors=True)
    with SummaryWriter(str(logs)) as writer:
        lines = ["| key | value |", "| --- | --- |"]
        lines += [f"| {key} | `{value}` |" for key, value in run.settings.items()]
        writer.add_text("params", "\n".join(lines), 0)
        for point in run.points:
            for name, value in point.values.items():
                writer.add_scalar(name, value, point.at)
    return f"tensorboard --logdir {folder / 'tensorboard'}"


def trackio(run: Run, folder: Path) -> str:
    """The local database of trackio (TRACKIO_DIR), or the Space that TRACKIO_SPACE_ID names."""
    import trackio as library  # pyright: ignore[reportMissingImports]

    with suppress(ValueError):  # there is no such project yet
        for earlier in list(library.Api().runs(run.project)):
            if earlier.name == run.id:
                earlier.delete()
    try:
        with redirect_stdout(sys.stderr):
            library.init(
                run.project, run.id, config=run.settings, embed=False,
                auto_log_gpu=False, auto_log_cpu=False,
            )  # fmt: skip
            for point in run.points:
                library.log(point.values, step=point.at)
            library.finish()
    except OSError as error:  # those of the hub are such, too
        raise RosdError(
            f"trackio: {str(error).splitlines()[0]} Without TRACKIO_SPACE_ID, runs stay on this "
            "machine."
        ) from None
    return f"trackio show --project {run.project}"


def wandb(run: Run, folder: Path) -> str:
    """Weights & Biases; with WANDB_MODE=offline a folder that `wandb sync` sends later."""
    import wandb as library  # pyright: ignore[reportMissingImports]
    from wandb.errors import Error  # pyright: ignore[reportMissingImports]

    (folder / "wandb").mkdir(parents=True, exist_ok=True)
    settings = library.Settings(silent=True, console="off", x_disable_stats=True)
    try:
        sent = library.init(
            project=run.project, name=run.id, id=run.id, resume="allow", config=run.settings,
            dir=str(folder), settings=settings,
        )  # fmt: skip
    except Error as error:
        raise RosdError(
            f"wandb: {str(error).splitlines()[0]} Log in with `wandb login`, or set "
            "WANDB_MODE=offline and send the run later with `wandb sync`."
        ) from None
    for axis in ("step", "iteration"):
        sent.define_metric(axis, hidden=True)
        for name in sorted({n for p in run.points if p.axis == axis for n in p.values}):
            sent.define_metric(name, step_metric=axis)
    for number, point in enumerate(run.points):
        sent.log(point.values | {point.axis: point.at}, step=number)
    place = sent.url or f"wandb sync {Path(sent.dir).parent}"
    sent.finish()
    return place


TRACKERS: dict[str, Callable[[Run, Path], str]] = {
    "tensorboard": tensorboard,
    "trackio": trackio,
    "wandb": wandb,
}


def send(to: str, run: Run, folder: Path) -> str:
    """Send a run to a tracker, which may keep files in `folder`; where to look at it. Raises
    RosdError where the tracker is not installed.
    """
    try:
        return TRACKERS[to](run, folder)
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != to:
            raise
        raise RosdError(
            f"track.to: {to} is not installed; run `pip install {to}` (docs/sharing.md)."
        ) from None
