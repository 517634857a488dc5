"""Commands of `rosd` that share results: track, export, push."""

from pathlib import Path
from typing import Annotated

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


def export(
    folder: Annotated[Path, typer.Argument(help="The new folder.")],
    iteration: Annotated[
        str | None, typer.Option(help="A key of params.yaml: loop; without it, the last one.")
    ] = None,
    params: ParamsFile = DEFAULT_PARAMS,
) -> None:
    """Write an iteration's model as a checkpoint for others: weights, tokenizer, model card."""
    with messages("export"):
        from rosd_core.config.load import load_params
        from stages.export import run
        from stages.paths import Paths

        key = run(load_params(params), Paths(params.resolve().parent), folder, iteration)
    typer.echo(f"{folder}: the model of {key}. Its README.md is the model card; read it first.")


def push(
    name: Annotated[str, typer.Argument(help="Of the data set on the hub: USER/NAME.")],
    dry_run: Annotated[
        Path | None, typer.Option(help="Only write what would be pushed, to this new folder.")
    ] = None,
    public: Annotated[bool, typer.Option("--public", help="A new data set is public.")] = False,
    params: ParamsFile = DEFAULT_PARAMS,
) -> None:
    """Push all tables to the hub as a data set, one config per table; private unless --public."""
    with messages("push"):
        from rosd_core.config.load import load_params
        from stages import push as stage
        from stages.paths import Paths

        values, paths = load_params(params), Paths(params.resolve().parent)
        if dry_run is None:
            told = stage.run(values, paths, name, public)
        else:
            files = stage.dry_run(values, paths, name, dry_run)
            told = f"{dry_run}: {len(files)} tables and their card; nothing was pushed."
    typer.echo(told)
