"""Commands of `rosd` about models and their engines: base, merge, init, parity, verify, serve."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from stages import complete
from stages.messages import messages

ParamsFile = Annotated[
    Path, typer.Option("--params", help="The params file; its folder is the project's.")
]
Iteration = Annotated[
    str,
    typer.Argument(
        help="A key of params.yaml: loop, such as i1.", autocompletion=complete.iterations
    ),
]
DEFAULT_PARAMS = Path("params.yaml")


def base(
    model: Annotated[
        str | None, typer.Argument(help="A model's folder, or its id on the hub.")
    ] = None,
    revision: Annotated[str | None, typer.Option(help="A revision of the hub's model.")] = None,
    pocket: Annotated[bool, typer.Option("--pocket", help="Back to the built-in model.")] = False,
    params: ParamsFile = DEFAULT_PARAMS,
) -> None:
    """Start from your own model, which is not copied; without arguments, say which one is used."""
    with messages("base"):
        from rosd_core.config.load import load_params
        from rosd_core.errors import RosdError
        from rosd_core.models import pointer
        from rosd_core.models.gguf import find_or_convert
        from rosd_core.models.loading import load_tokenizer
        from rosd_core.prompts.chat import check_template
        from stages.paths import Paths

        if pocket and model is not None:
            raise RosdError("name a model or give --pocket, not both.")
        here = Paths(params.resolve().parent).model("base")
        if pocket:
            pointer.unset_base(here)
        elif model is not None:
            folder, exact = find_or_convert(model, revision, here.parent)
            pointer.refuse_own_folders(folder, here, list(load_params(params).loop))
            pointer.check_model(folder)
            for lack in check_template(load_tokenizer(folder)):
                typer.echo(f"{folder}: its chat template has {lack}", err=True)
            pointer.set_base(here, model, exact, folder)
        current = pointer.read_pointer(here)
        place = "the built-in model" if current is None else current.model
        at = f" at {current.revision}" if current is not None and current.revision else ""
    typer.echo(f"{here}: {place}{at}")


def merge(
    adapter: Annotated[Path, typer.Argument(help="A folder with adapter_config.json.")],
    to: Annotated[Path, typer.Argument(help="The new folder.")],
    base: Annotated[
        str | None,
        typer.Option(help="Instead of the base that the adapter names, as in `rosd base`."),
    ] = None,
) -> None:
    """Write an adapter and its base as one model."""
    with messages("merge"):
        from rosd_core.models.gguf import find_or_convert
        from rosd_core.models.merge import merge_adapter

        parent = to.resolve().parent
        whole = None if base is None else find_or_convert(base, None, parent)[0]
        merge_adapter(adapter, to, whole)
    typer.echo(f"{to}: ready.")


def init_project(
    model: Annotated[
        str, typer.Option(help="A model's folder, a GGUF file or folder, or a hub id.")
    ],
    train: Annotated[str, typer.Option(help="JSON lines, CSV or Parquet to train on.")],
    folder: Annotated[Path, typer.Argument(help="The project's folder.")] = Path(),
    test: Annotated[str | None, typer.Option(help="Problems to evaluate on.")] = None,
    columns: Annotated[
        list[str] | None, typer.Option(help="prompt=NAME,answer=NAME,solution=NAME,system=NAME")
    ] = None,
    grader: Annotated[str | None, typer.Option(help="See docs/your-data.md.")] = None,
    method: Annotated[
        str, typer.Option(help="As in `rosd method`.", autocompletion=complete.methods)
    ] = "rosd",
    device: Annotated[str | None, typer.Option(help="cpu or cuda.")] = None,
    iterations: Annotated[int, typer.Option(help="As in `rosd loop`.")] = 2,
    shots: Annotated[int | None, typer.Option(help="Solved examples in the prompts.")] = None,
    max_new_tokens: Annotated[int | None, typer.Option(help="Most tokens of a response.")] = None,
    minutes: Annotated[float, typer.Option(help="What an iteration may take, roughly.")] = 15,
    revision: Annotated[str | None, typer.Option(help="A revision of the hub's model.")] = None,
) -> None:
    """Make a project of your model and your data: params.yaml with values that fit both."""
    with messages("init"):
        import torch

        from stages.init_project import Options, create, summary

        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        options = Options(
            model, revision, train, test, columns or [], grader, method, device, iterations, shots,
            max_new_tokens, minutes,
        )  # fmt: skip
        choices = create(folder, options)
    typer.echo(f"{summary(choices)}\n\n{folder}: ready. Run the stages there with `rosd repro`.")


def parity(
    iteration: Iteration,
    rows: Annotated[int, typer.Option(min=1, help="How many rollouts to check.")] = 32,
    params: ParamsFile = DEFAULT_PARAMS,
) -> None:
    """Compare the log-probabilities of an iteration's rollouts with the training forward pass."""
    with messages("parity"):
        from rosd_core.config.load import load_params
        from rosd_core.errors import RosdError
        from stages.parity import check
        from stages.paths import Paths, set_threads

        values = load_params(params)
        set_threads(values.machine.threads)
        found = check(values, Paths(params.resolve().parent), iteration, rows)
        if not found:
            raise RosdError(
                f"the rollouts of {iteration} are from rollout.file: no engine sampled them."
            )
        typer.echo(
            f"{found['parity_rows']} rollouts, {found['parity_tokens']} tokens: mean difference "
            f"{found['parity_mean']:.2g} nats, worst {found['parity_worst']:.2g}; the mean may be "
            f"{values.engine.parity.bound:g} (engine.parity.bound)"
        )


def verify(
    iteration: Iteration,
    rows: Annotated[int, typer.Option(min=1, help="How many rows of each table.")] = 8,
    seed: Annotated[int, typer.Option(help="Draws the rows.")] = 0,
    tolerance: Annotated[float, typer.Option(min=0, help="Of floats: log-probs in nats.")] = 1e-3,
    params: ParamsFile = DEFAULT_PARAMS,
) -> None:
    """Make rows of an iteration's rollouts and scores again and compare them with the tables."""
    with messages("verify"):
        from rosd_core.config.load import load_params
        from stages.paths import Paths
        from stages.verify import check

        paths = Paths(params.resolve().parent)
        done = check(load_params(params), paths, iteration, rows, seed, tolerance)
    for table, count in done.items():
        typer.echo(f"{table}: {count} rows made again, the same")


def serve(
    model: Annotated[
        str,
        typer.Argument(
            help="base, a key of params.yaml: loop, a folder or a hub id.",
            autocompletion=complete.models,
        ),
    ] = "base",
    dry_run: Annotated[bool, typer.Option(help="Only print the command.")] = False,
    params: ParamsFile = DEFAULT_PARAMS,
) -> None:
    """Start vLLM's server on a model, at engine.server.url, for `engine: server`."""
    with messages("serve"):
        from rosd_core.config.load import load_params
        from stages.paths import Paths
        from stages.serve import command, start

        arguments, variables = command(load_params(params), Paths(params.resolve().parent), model)
        if dry_run:
            typer.echo(shlex.join([*(f"{n}={v}" for n, v in variables.items()), *arguments]))
            return
        start(arguments, variables)
