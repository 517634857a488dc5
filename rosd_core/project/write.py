"""The files of a new project: params.yaml with the chosen values, and dvc.yaml."""

import os
import shutil
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.scalarstring import LiteralScalarString

from rosd_core.config.edit import rewrite, round_trip_yaml
from rosd_core.project.choose import Choice
from rosd_core.tables.atomic import replacing

PLOTS_PAGE = "rosd_core/report/vendor/plots.html"
HEAD = "# Written by `rosd init`. Why each value was chosen:\n"


def flow(value: Any, yaml: YAML) -> Any:
    """A mapping as one line of YAML, a text of several lines as a block."""
    if isinstance(value, str) and "\n" in value:
        return LiteralScalarString(value)
    if isinstance(value, Mapping):
        item = yaml.map(**{key: flow(entry, yaml) for key, entry in value.items()})
        item.fa.set_flow_style()
        return item
    return value


def write_params(
    file: Path,
    choices: Sequence[Choice],
    domain: tuple[str, Mapping[str, Any]],
    prompts: Mapping[str, str],
    examples: Sequence[Mapping[str, str]],
) -> None:
    """Set the chosen values in a params file, which keeps its comments and other values, and
    explain them at its head. Raises RosdError, and changes nothing, where the result is not valid.
    """

    def change(data: Any, yaml: YAML) -> None:
        name, entry = domain
        domains = yaml.map()
        domains[name] = flow(entry, yaml)
        data["prepare"]["domains"] = domains
        for template, text in prompts.items():
            data["prompts"][template] = flow(text, yaml)
        data["prompts"]["examples"]["plain"] = [dict(example) for example in examples]
        for choice in choices:
            section, _, key = choice.key.partition(".")
            if section not in ("prepare", "prompts"):
                data[section][key] = choice.value

    rewrite(file, change)
    text = file.read_text(encoding="utf-8")
    if text.startswith(HEAD):  # of an earlier `rosd init`
        text = text.partition("\n#\n")[2]
    with replacing(file) as temporary:
        temporary.write_text(f"{HEAD}{explained(choices)}#\n{text}", encoding="utf-8")


def explained(choices: Sequence[Choice]) -> str:
    """The choices as a comment: a line per value, with its reason."""
    lines = []
    for choice in choices:
        text = f"{choice.key} = {choice.value}: {choice.why}"
        lines += textwrap.wrap(text, 118, initial_indent="#   ", subsequent_indent="#     ")
    return "\n".join(lines) + "\n"


def new_params(shipped: Path, file: Path) -> None:
    """The shipped params without the recipes that teach a model the pocket world."""
    yaml = round_trip_yaml()
    data = yaml.load(shipped.read_text(encoding="utf-8"))
    del data["bootstrap"], data["finetune"]
    _write(yaml, data, file)


def write_pipeline(shipped: Path, folder: Path) -> None:
    """Write a project's dvc.yaml: the shipped one without the training of the built-in model, and
    with the code's files at the place where they are. Files, not folders: outside its own folder
    DVC would take caches for code.
    """
    yaml = round_trip_yaml()
    data = yaml.load(shipped.read_text(encoding="utf-8"))
    del data["stages"]["bootstrap"]
    for stage in data["stages"].values():
        body = stage.get("do", stage)
        deps: list[str] = []
        for dep in body["deps"]:
            code = dep.startswith(("stages/", "rosd_core/"))
            deps += _files(shipped.parent / dep, folder) if code else [dep]
        body["deps"] = deps
    _write(yaml, data, folder / "dvc.yaml")


def _write(yaml: YAML, data: Any, file: Path) -> None:
    with replacing(file) as temporary, temporary.open("w", encoding="utf-8") as stream:
        yaml.dump(data, stream)


def copy_parts(shipped: Path, folder: Path) -> None:
    """What the pipeline depends on beside code: the (empty) optimizer state of the base model."""
    source = shipped / "optimizers" / "base"
    shutil.copytree(source, folder / "optimizers" / "base", dirs_exist_ok=True)


def add_plots(shipped: Path, folder: Path) -> None:
    """Let `dvc plots show` of the DVC project in `folder` draw our pictures, and without a network:
    the templates are copied, and DVC's config names the page that holds the scripts.
    """
    shutil.copytree(shipped / ".dvc" / "plots", folder / ".dvc" / "plots", dirs_exist_ok=True)
    page = os.path.relpath((shipped / PLOTS_PAGE).resolve(), (folder / ".dvc").resolve())
    with (folder / ".dvc" / "config").open("a", encoding="utf-8") as config:
        config.write(f'[plots]\n    html_template = "{page}"\n')


def _files(code: Path, folder: Path) -> list[str]:
    """The Python files of a folder of code, or the file itself, as seen from `folder`."""
    files = [code] if code.is_file() else sorted(code.rglob("*.py"))
    return [os.path.relpath(file.resolve(), folder.resolve()) for file in files]
