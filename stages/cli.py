"""`rosd`: one command per stage, and a few for params, models and tables.

A stage's module is imported when it runs, so that `rosd --help` need not import torch.
"""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
    help="Reflective on-policy self-distillation in offline stages. `dvc repro` runs them all.",
)  # fmt: skip

ParamsFile = Annotated[
    Path, typer.Option("--params", help="The params file; its folder is the project's.")
]
Iteration = Annotated[str, typer.Argument(help="A key of params.yaml: loop, such as i1.")]
DEFAULT_PARAMS = Path("params.yaml")


@contextmanager
def _messages(command: str) -> Iterator[None]:
    """Errors that the user can fix end as one message and exit code 1."""
    from rosd_core.errors import RosdError

    try:
        yield
    except RosdError as error:
        typer.echo(f"rosd {command}: {error}", err=True)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        typer.echo(f"rosd {command}: interrupted; it wrote nothing. Run it again.", err=True)
        raise typer.Exit(130) from None


def _interrupt(number: int, frame: object) -> None:
    """Treat SIGTERM as Ctrl-C, so that temporary files are removed."""
    raise KeyboardInterrupt


def _run(stage: str, params_file: Path, *args: str) -> None:
    """Load params and run a stage; those of the comparison have modules named compare_<stage>."""
    module = f"compare_{stage}" if stage in ("arm", "shared") else stage
    signal.signal(signal.SIGTERM, _interrupt)
    with _messages(stage):
        from rosd_core.config.load import load_params
        from stages.paths import Paths

        params = load_params(params_file)
        import_module(f"stages.{module}").run(params, Paths(params_file.resolve().parent), *args)


@app.command()
def prepare(params: ParamsFile = DEFAULT_PARAMS) -> None:
    """Write data/problems.parquet: the problems to train and to evaluate on."""
    _run("prepare", params)


@app.command()
def bootstrap(params: ParamsFile = DEFAULT_PARAMS) -> None:
    """Train the pocket model in models/base from its seed (long; the weights are shipped)."""
    _run("bootstrap", params)


@app.command()
def rollout(iteration: Iteration, params: ParamsFile = DEFAULT_PARAMS) -> None:
    """Sample G responses per problem and grade them."""
    _run("rollout", params, iteration)


@app.command()
def reflect(iteration: Iteration, params: ParamsFile = DEFAULT_PARAMS) -> None:
    """Let the student quote the first error of wrong responses and write corrective ideas."""
    _run("reflect", params, iteration)


@app.command()
def align(iteration: Iteration, params: ParamsFile = DEFAULT_PARAMS) -> None:
    """Turn error quotes into the supervised tokens of each response."""
    _run("align", params, iteration)


@app.command()
def score(iteration: Iteration, params: ParamsFile = DEFAULT_PARAMS) -> None:
    """Store the self-teacher's next-token distributions at the supervised positions."""
    _run("score", params, iteration)


@app.command()
def distill(iteration: Iteration, params: ParamsFile = DEFAULT_PARAMS) -> None:
    """Train the student toward the self-teacher: one epoch, models/<iteration>."""
    _run("distill", params, iteration)


@app.command()
def evaluate(
    model: Annotated[str, typer.Argument(help="base or a key of params.yaml: loop.")],
    params: ParamsFile = DEFAULT_PARAMS,
) -> None:
    """Measure mean@k per domain of a model."""
    _run("evaluate", params, model)


@app.command()
def report(params: ParamsFile = DEFAULT_PARAMS) -> None:
    """Print accuracy per iteration and domain; write CSVs for `dvc plots`."""
    _run("report", params)


@app.command(hidden=True)
def shared(seed: str, params: ParamsFile = DEFAULT_PARAMS) -> None:
    """For `make compare`: what all methods of a seed have in common."""
    _run("shared", params, seed)


@app.command(hidden=True)
def arm(method: str, seed: str, params: ParamsFile = DEFAULT_PARAMS) -> None:
    """For `make compare`: one method with one seed, all iterations."""
    _run("arm", params, method, seed)


@app.command(hidden=True)
def arms(seeds: str, params: ParamsFile = DEFAULT_PARAMS) -> None:
    """For `make compare`: the DVC stages of a seed in their order, a line per seed (the first few,
    or all)."""
    from rosd_core.config.load import load_params

    p = load_params(params).compare
    for seed in p.seeds if seeds == "all" else p.seeds[: int(seeds)]:
        names = [f"shared@{seed}"] + [f"arm@{seed}-{method}" for method in p.methods]
        typer.echo(" ".join(f"compare/dvc.yaml:{name}" for name in names))


@app.command()
def compare(
    seeds: Annotated[str, typer.Option(help="How many of the seeds, or all.")] = "all",
    params: ParamsFile = DEFAULT_PARAMS,
) -> None:
    """Print and store the comparison of methods that `make compare` has run."""
    _run("compare", params, seeds)


@app.command()
def loop(iterations: int, params: ParamsFile = DEFAULT_PARAMS) -> None:
    """Set the number of on-policy iterations in params.yaml; `dvc repro` then runs what is new."""
    with _messages("loop"):
        from rosd_core.config.edit import rewrite_loop

        rewrite_loop(params, iterations)
    typer.echo(f"{params}: loop is i1..i{iterations}")


@app.command()
def method(name: str, params: ParamsFile = DEFAULT_PARAMS) -> None:
    """Set a method in params.yaml: rosd, rosd-no-localize, rosd-no-idea, sdpo, opsd, sft, grpo."""
    with _messages("method"):
        from rosd_core.config.edit import rewrite_method

        rewrite_method(params, name)
    typer.echo(f"{params}: method is {name}")


@app.command()
def preset(names: list[str], params: ParamsFile = DEFAULT_PARAMS) -> None:
    """Apply presets (presets/*.yaml) to params.yaml, for example: qwen3-4b biology."""
    root = params.resolve().parent
    with _messages("preset"):
        from rosd_core.config.presets import apply_presets, missing_files

        shipped = Path(__file__).resolve().parent.parent / "presets"
        folder = root / "presets" if (root / "presets").is_dir() else shipped
        missing = missing_files(apply_presets(params, folder, names), root)
    typer.echo(f"{params}: preset is {' '.join(names)}")
    for file in missing:
        typer.echo(f"  not there yet: {file}")


@app.command()
def base(
    model: Annotated[
        str | None, typer.Argument(help="A model's folder, or its id on the hub.")
    ] = None,
    revision: Annotated[str | None, typer.Option(help="A revision of the hub's model.")] = None,
    pocket: Annotated[bool, typer.Option("--pocket", help="Back to the built-in model.")] = False,
    params: ParamsFile = DEFAULT_PARAMS,
) -> None:
    """Start from your own model, which is not copied; without arguments, say which one is used."""
    with _messages("base"):
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


@app.command("init")
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
    method: Annotated[str, typer.Option(help="As in `rosd method`.")] = "rosd",
    device: Annotated[str | None, typer.Option(help="cpu or cuda.")] = None,
    iterations: Annotated[int, typer.Option(help="As in `rosd loop`.")] = 2,
    shots: Annotated[int | None, typer.Option(help="Solved examples in the prompts.")] = None,
    max_new_tokens: Annotated[int | None, typer.Option(help="Most tokens of a response.")] = None,
    minutes: Annotated[float, typer.Option(help="What an iteration may take, roughly.")] = 15,
    revision: Annotated[str | None, typer.Option(help="A revision of the hub's model.")] = None,
) -> None:
    """Make a project of your model and your data: params.yaml with values that fit both."""
    with _messages("init"):
        import torch

        from stages.init_project import Options, create, summary

        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        options = Options(
            model, revision, train, test, columns or [], grader, method, device, iterations, shots,
            max_new_tokens, minutes,
        )  # fmt: skip
        choices = create(folder, options)
    typer.echo(f"{summary(choices)}\n\n{folder}: ready. Run the stages there with `dvc repro`.")


@app.command()
def hashes(params: ParamsFile = DEFAULT_PARAMS) -> None:
    """Print a content hash of every table and of every model's weights: equal runs, equal lines."""
    root = params.resolve().parent
    with _messages("hashes"):
        from rosd_core.tables.hashing import file_hash, table_hash

        folders = ("data", "iterations", "evaluations")
        for file in sorted(f for d in folders for f in (root / d).rglob("*.parquet")):
            typer.echo(f"{table_hash(file)}  {file.relative_to(root)}")
        tensors = (f for d in ("models", "optimizers") for f in (root / d).rglob("*.safetensors"))
        for file in sorted(tensors):
            typer.echo(f"{file_hash(file)}  {file.relative_to(root)}")


@app.command()
def schema(
    table: Annotated[str | None, typer.Argument(help="One table; without it, all of them.")] = None,
    markdown: Annotated[
        bool, typer.Option(help="All tables as Markdown (docs/tables.md).")
    ] = False,
) -> None:
    """Print the tables' columns with type, unit and meaning."""
    with _messages("schema"):
        from rosd_core.errors import RosdError
        from rosd_core.report.dictionary import as_markdown, as_text
        from rosd_core.tables.schemas import SCHEMAS

        if table is not None and table not in SCHEMAS:
            raise RosdError(f"there is no table {table!r}; there are: {', '.join(SCHEMAS)}.")
        if markdown:
            typer.echo(as_markdown(), nl=False)
            return
        for name in [table] if table else SCHEMAS:
            typer.echo(as_text(name))


def main(stage: str) -> None:
    """`python -m stages.<stage>` is `rosd <stage>`."""
    app([stage, *sys.argv[1:]], prog_name="rosd")


if __name__ == "__main__":
    app()
