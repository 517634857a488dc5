"""Commands of `rosd` that look at results in the terminal: show, tables, diff."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from stages import complete
from stages.cli_models import DEFAULT_PARAMS, ParamsFile
from stages.messages import messages

if TYPE_CHECKING:
    from rich.console import Console


def console() -> "Console":
    """Prints colours on a terminal alone, and no sign that the output's encoding lacks."""
    from rich.console import Console

    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")
    return Console(highlight=False, markup=False, emoji=False)


def show(
    rollout: Annotated[
        str | None,
        typer.Argument(
            help="A rollout_id, such as chain-train-12/3.", autocompletion=complete.rollouts
        ),
    ] = None,
    iteration: Annotated[
        str | None,
        typer.Option(help="Default: the last one that has it.", autocompletion=complete.iterations),
    ] = None,
    problem: Annotated[
        str | None,
        typer.Option(
            help="List the rollouts of this problem instead.", autocompletion=complete.problems
        ),
    ] = None,
    tokens: Annotated[int, typer.Option(min=0, help="How many tokens to list.")] = 8,
    params: ParamsFile = DEFAULT_PARAMS,
) -> None:
    """Show one rollout: response, quote, supervised tokens, verdict, idea and divergence."""
    with messages("show"):
        from rosd_core.config.load import load_params
        from rosd_core.errors import RosdError
        from rosd_core.show.group import print_group
        from rosd_core.show.rollout import print_sheet
        from stages.paths import Paths
        from stages.show import example, group, sheet

        values, paths = load_params(params), Paths(params.resolve().parent)
        if (rollout is None) == (problem is None):
            found = example(values, paths)
            hint = f", for example `rosd show {found}`" if found else ""
            raise RosdError(f"name a rollout{hint}, or give --problem.")
        if problem is not None:
            print_group(console(), group(values, paths, problem, iteration))
        elif rollout is not None:
            print_sheet(console(), sheet(values, paths, rollout, iteration), tokens)


def tables(params: ParamsFile = DEFAULT_PARAMS) -> None:
    """List the tables: rows, size, what is in them, what is missing or made with other params."""
    with messages("tables"):
        from rosd_core.config.load import load_params
        from rosd_core.show.inventory import print_inventory
        from stages.paths import Paths
        from stages.tables import inventory

        found = inventory(load_params(params), Paths(params.resolve().parent))
        print_inventory(console(), found)


def diff(
    before: Annotated[
        str, typer.Argument(help="base or an iteration.", autocompletion=complete.models)
    ],
    after: Annotated[str, typer.Argument(help="The same.", autocompletion=complete.models)],
    changes: Annotated[int, typer.Option(min=0, help="How many problems to name each way.")] = 8,
    params: ParamsFile = DEFAULT_PARAMS,
) -> None:
    """Compare the evaluations of two models problem by problem: what turned right, what wrong."""
    with messages("diff"):
        from rosd_core.config.load import load_params
        from rosd_core.show.difference import print_difference
        from stages.diff import compare
        from stages.paths import Paths

        found = compare(load_params(params), Paths(params.resolve().parent), before, after)
        print_difference(console(), found, changes)
