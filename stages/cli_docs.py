"""Commands of `rosd` about its documentation: reference."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from stages.messages import messages

SHIPPED = Path(__file__).resolve().parent.parent / "params.yaml"
HEAD = """# Commands

Every command of `rosd`, as `rosd COMMAND --help` shows it. Written by `rosd reference commands`.
"""


def reference(
    page: Annotated[Literal["commands", "params"], typer.Argument(help="Which page.")],
    params: Annotated[
        Path | None, typer.Option("--params", help="Of params: another file than the shipped one.")
    ] = None,
) -> None:
    """Print the reference of commands or params as Markdown (docs/commands.md, docs/params.md)."""
    with messages("reference"):
        from rosd_core.config.load import load_params
        from rosd_core.report.reference import params_markdown

        if page == "commands":
            typer.echo(commands_markdown(), nl=False)
            return
        file = params or SHIPPED
        load_params(file)  # names what is wrong with it
        typer.echo(params_markdown(file.read_text(encoding="utf-8")), nl=False)


def commands_markdown() -> str:
    """The page with the usage, arguments and options of every command."""
    from stages.cli import app

    group: Any = typer.main.get_command(app)
    lines = [HEAD]
    for name, command in sorted(group.commands.items()):
        usage = " ".join(["rosd", name, *usage_of(command)])
        lines += [f"## {name}\n", f"{_sentence(command.help)}\n", f"```\n{usage}\n```\n"]
        if rows := list(rows_of(command)):
            lines += ["| | default | |\n| --- | --- | --- |", *rows, ""]
    return "\n".join(lines).rstrip() + "\n"


def usage_of(command: Any) -> Iterator[str]:
    """The words behind a command's name."""
    if any(parameter.param_type_name == "option" for parameter in command.params):
        yield "[OPTIONS]"
    for parameter in command.params:
        if parameter.param_type_name == "argument":
            word = parameter.name.upper() + ("..." if parameter.nargs == -1 else "")
            yield word if parameter.required else f"[{word}]"


def rows_of(command: Any) -> Iterator[str]:
    """A row of the table for each argument and option."""
    for parameter in command.params:
        argument = parameter.param_type_name == "argument"
        names = (
            [parameter.name.upper()] if argument else [*parameter.opts, *parameter.secondary_opts]
        )
        default = parameter.default
        shown = "" if parameter.required or default in (None, False, [], ()) else f"`{default}`"
        yield f"| {', '.join(f'`{name}`' for name in names)} | {shown} | {_cell(parameter.help)} |"


def _sentence(text: str | None) -> str:
    """One line, in which `<name>` is text and not a tag."""
    parts = " ".join((text or "").split()).split("`")
    parts[::2] = [part.replace("<", "\\<") for part in parts[::2]]
    return "`".join(parts)


def _cell(text: str | None) -> str:
    return _sentence(text).replace("|", "\\|")
