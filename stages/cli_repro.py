"""`rosd repro`: the pipeline, with less time between the stages."""

from pathlib import Path
from typing import Annotated

import typer

from stages.messages import messages

PASSED_ON = {"ignore_unknown_options": True, "help_option_names": []}  # options are DVC's


def repro(
    arguments: Annotated[
        list[str] | None, typer.Argument(help="Those of `dvc repro`; --help shows them.")
    ] = None,
) -> None:
    """Do what `dvc repro` does in less time: libraries are imported once, not by each stage."""
    asked, params = arguments or [], Path("params.yaml")
    with messages("repro"):
        from dvc.cli import main

        from rosd_core.config.load import load_params
        from stages.quick_dvc import quick_dvc

        if Path("dvc.yaml").is_file() and not {"-h", "--help"} & set(asked):
            load_params(params)  # DVC deletes what a stage wrote before the stage can refuse them
        with quick_dvc():
            code = main(["repro", *asked])
    raise typer.Exit(code or 0)
