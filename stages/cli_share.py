"""Commands of `rosd` that share results: track, export, push."""

import typer

from stages.cli_models import DEFAULT_PARAMS, ParamsFile
from stages.messages import messages


def track(params: ParamsFile = DEFAULT_PARAMS) -> None:
    """Send curves, metrics and accuracies to the tracker that params.yaml names; once."""
    with messages("track"):
        from rosd_core.config.load import load_params
        from stages.paths import Paths
        from stages.track import run

        told = run(load_params(params), Paths(params.resolve().parent))
    typer.echo(told)
