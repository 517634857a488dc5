"""`rosd plan`: what an iteration will cost, before it runs."""

import json
from typing import Annotated

import typer

from stages import complete
from stages.cli_models import DEFAULT_PARAMS, ParamsFile
from stages.messages import messages


def plan(
    gpus: Annotated[int | None, typer.Option(min=1, help="How many GPUs.")] = None,
    card: Annotated[
        str | None, typer.Option(help="A GPU that need not be here: H100, H200, A100, L40S, 4090.")
    ] = None,
    memory: Annotated[
        float | None, typer.Option(min=0.1, help="GiB of a GPU, or of this machine.")
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(min=1e-6, help="TFLOP/s that matrix products reach, in bf16 on a GPU."),
    ] = None,
    iterations: Annotated[int | None, typer.Option(min=1, help="Default: those of loop.")] = None,
    config: Annotated[
        str | None,
        typer.Option(
            help="Another model: a config.json, a folder, or Qwen/Qwen3-4B, Qwen/Qwen3-8B."
        ),
    ] = None,
    preset: Annotated[
        list[str] | None,
        typer.Option(
            help="As in `rosd preset`, without writing it; may be repeated.",
            autocompletion=complete.presets,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="All numbers, as JSON.")] = False,
    params: ParamsFile = DEFAULT_PARAMS,
) -> None:
    """Say what an iteration will cost before it runs: tokens, operations, disk, memory, hours."""
    with messages("plan"):
        from rosd_core.show.plan import print_plan
        from stages.cli_show import console
        from stages.plan import Options
        from stages.plan import plan as make

        options = Options(gpus, card, memory, rate, iterations, config, preset or ())
        found = make(params, options)
        if as_json:
            typer.echo(json.dumps(found.as_json(), indent=2))
        else:
            print_plan(console(), found)
