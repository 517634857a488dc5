"""`rosd repro`: the pipeline, with less time between the stages."""

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
    with messages("repro"):
        from dvc.cli import main

        from stages.quick_dvc import quick_dvc

        with quick_dvc():
            code = main(["repro", *(arguments or [])])
    raise typer.Exit(code or 0)
