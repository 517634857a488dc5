"""`rosd`: one command per stage, and a few for params, models and tables.

A stage's module is imported when it runs, so that `rosd --help` need not import torch.
"""

import os
import signal
import sys
from importlib import import_module, metadata
from pathlib import Path
from typing import Annotated

import typer

from stages import cli_docs, cli_models, cli_plan, cli_repro, cli_share, cli_show, complete
from stages.cli_doctor import doctor
from stages.cli_models import DEFAULT_PARAMS, Iteration, ParamsFile
from stages.messages import messages

app = typer.Typer(
    no_args_is_help=True, pretty_exceptions_enable=False,
    help="Reflective on-policy self-distillation in offline stages. `dvc repro` runs them all.",
)  # fmt: skip


def _interrupt(number: int, frame: object) -> None:
    """Treat SIGTERM as Ctrl-C, so that temporary files are removed."""
    raise KeyboardInterrupt


# stages whose modules have other names
MODULES = {"bootstrap --from": "finetune"}


def _run(stage: str, params_file: Path, *args: str | int | bool | None) -> None:
    """Load params and run a stage, unless it is being run already."""
    module = MODULES.get(stage, stage)
    signal.signal(signal.SIGTERM, _interrupt)
    with messages(stage):
        from rosd_core.config.load import load_params
        from stages.paths import Paths, the_only_run

        params, paths = load_params(params_file), Paths(params_file.resolve().parent)
        with the_only_run(paths, module, args):
            import_module(f"stages.{module}").run(params, paths, *args)


def say_version(asked: bool) -> None:
    """`rosd --version`."""
    if asked:
        typer.echo(metadata.version("rosd"))
        raise typer.Exit


@app.callback()
def options(
    quiet: Annotated[
        bool, typer.Option("--quiet", help="No progress, only warnings; like ROSD_QUIET=1.")
    ] = False,
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", callback=say_version, is_eager=True),
    ] = False,
) -> None:
    if quiet:
        os.environ["ROSD_QUIET"] = "1"  # also for processes that a command starts


@app.command()
def prepare(params: ParamsFile = DEFAULT_PARAMS) -> None:
    """Write data/problems.parquet: the problems to train and to evaluate on."""
    _run("prepare", params)


@app.command()
def bootstrap(
    start: Annotated[
        str | None,
        typer.Option("--from", help="Teach this model: a folder, a GGUF file or a hub id."),
    ] = None,
    to: Annotated[
        str, typer.Option(help="With --from: the name of the result in models/.")
    ] = "finetuned",
    revision: Annotated[str | None, typer.Option(help="A revision of the hub's model.")] = None,
    params: ParamsFile = DEFAULT_PARAMS,
) -> None:
    """Train the pocket model in models/base from its seed (long; the weights are shipped), or teach
    the same to another model (hours; run it again to go on after a stop)."""
    if start is None:
        _run("bootstrap", params)
    else:
        _run("bootstrap --from", params, start, revision, to)


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
    model: Annotated[
        str,
        typer.Argument(help="base or a key of params.yaml: loop.", autocompletion=complete.models),
    ],
    params: ParamsFile = DEFAULT_PARAMS,
) -> None:
    """Measure mean@k per domain of a model."""
    _run("evaluate", params, model)


@app.command()
def report(params: ParamsFile = DEFAULT_PARAMS) -> None:
    """Print accuracy per iteration and domain; write CSVs for `dvc plots`."""
    _run("report", params)


@app.command()
def study(
    name: Annotated[
        str, typer.Argument(help="Of study/<name>.yaml.", autocompletion=complete.studies)
    ],
    jobs: Annotated[int, typer.Option(help="Processes on this machine.")] = 1,
    report: Annotated[bool, typer.Option(help="Only the tables of what is there.")] = False,
    params: ParamsFile = DEFAULT_PARAMS,
) -> None:
    """Compare settings on your data: run what a study lacks, then write tables and figures."""
    _run("study", params, name, jobs, report)


@app.command()
def loop(iterations: int, params: ParamsFile = DEFAULT_PARAMS) -> None:
    """Set the number of on-policy iterations in params.yaml; `dvc repro` then runs what is new."""
    with messages("loop"):
        from rosd_core.config.edit import rewrite_loop

        rewrite_loop(params, iterations)
    typer.echo(f"{params}: loop is i1..i{iterations}")


@app.command()
def method(
    name: Annotated[str, typer.Argument(autocompletion=complete.methods)],
    params: ParamsFile = DEFAULT_PARAMS,
) -> None:
    """Set a method in params.yaml: rosd, rosd-no-localize, rosd-no-idea, rosd-critique, sdpo,
    sdpo-feedback, opsd, sft, grpo, grpo-kl, opsa."""
    with messages("method"):
        from rosd_core.config.edit import rewrite_method

        rewrite_method(params, name)
    typer.echo(f"{params}: method is {name}")


@app.command()
def preset(
    names: Annotated[list[str], typer.Argument(autocompletion=complete.presets)],
    params: ParamsFile = DEFAULT_PARAMS,
) -> None:
    """Apply presets (presets/*.yaml) to params.yaml, for example: qwen3-4b biology."""
    root = params.resolve().parent
    with messages("preset"):
        from rosd_core.config.presets import apply_presets, missing_files

        folder = complete.presets_folder(params)
        missing = missing_files(apply_presets(params, folder, names), root)
    typer.echo(f"{params}: preset is {' '.join(names)}")
    for file in missing:
        typer.echo(f"  not there yet: {file}")


@app.command()
def hashes(params: ParamsFile = DEFAULT_PARAMS) -> None:
    """Print a content hash of every table and of every model's weights: equal runs, equal lines."""
    root = params.resolve().parent
    with messages("hashes"):
        from rosd_core.tables.hashing import file_hash, table_hash

        folders = ("data", "iterations", "evaluations")
        for file in sorted(f for d in folders for f in (root / d).rglob("*.parquet")):
            typer.echo(f"{table_hash(file)}  {file.relative_to(root)}")
        tensors = (f for d in ("models", "optimizers") for f in (root / d).rglob("*.safetensors"))
        for file in sorted(tensors):
            typer.echo(f"{file_hash(file)}  {file.relative_to(root)}")


@app.command()
def clean(params: ParamsFile = DEFAULT_PARAMS) -> None:
    """Delete what stages keep in case they are stopped (.rosd/scratch); no table, no model."""
    with messages("clean"):
        from rosd_core.tables import scratch

        freed = scratch.clean(params.resolve().parent)
    typer.echo(f"{freed / 1e6:.1f} MB freed")


@app.command()
def schema(
    table: Annotated[
        str | None,
        typer.Argument(help="One table; without it, all of them.", autocompletion=complete.tables),
    ] = None,
    markdown: Annotated[
        bool, typer.Option(help="All tables as Markdown (docs/tables.md).")
    ] = False,
) -> None:
    """Print the tables' columns with type, unit and meaning."""
    with messages("schema"):
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


app.command(context_settings=cli_repro.PASSED_ON)(cli_repro.repro)
app.command()(doctor)
app.command()(cli_show.show)
app.command()(cli_show.tables)
app.command()(cli_show.diff)
app.command()(cli_plan.plan)
app.command()(cli_models.base)
app.command()(cli_models.merge)
app.command("init")(cli_models.init_project)
app.command()(cli_models.parity)
app.command()(cli_models.verify)
app.command()(cli_models.serve)
app.command()(cli_docs.reference)
app.command()(cli_share.track)
app.command()(cli_share.export)
app.command()(cli_share.push)


def main(stage: str) -> None:
    """`python -m stages.<stage>` is `rosd <stage>`."""
    app([stage, *sys.argv[1:]], prog_name="rosd")


if __name__ == "__main__":
    app()
