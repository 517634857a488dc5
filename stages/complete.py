"""What the shell completes: names that are there in the project. Without a project, nothing."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import typer

Names = Callable[[Path], Iterable[str]]
Completion = Callable[[typer.Context, str], list[str]]


def _completion(names: Names) -> Completion:
    """The names for a params file that begin as what is typed. Whatever goes wrong, the shell gets
    no names and no message.
    """

    def complete(ctx: typer.Context, incomplete: str) -> list[str]:
        try:
            given: Any = ctx.params.get("params")
            found = names(Path(given or "params.yaml"))
            return [name for name in found if name.startswith(incomplete)]
        except Exception:
            return []

    return complete


def _loop(params: Path) -> list[str]:
    """The keys of the loop. The rest of the file is not checked: that takes longer."""
    from ruamel.yaml import YAML

    return list(YAML(typ="safe").load(params.read_text(encoding="utf-8"))["loop"])


def _models(params: Path) -> list[str]:
    return ["base", *_loop(params)]


def _tables(params: Path) -> Iterable[str]:
    from rosd_core.tables.schemas import SCHEMAS

    return SCHEMAS


def _methods(params: Path) -> Iterable[str]:
    from rosd_core.config.methods import METHODS

    return METHODS


def presets_folder(params: Path) -> Path:
    """The project's own presets, else the shipped ones."""
    own = params.resolve().parent / "presets"
    return own if own.is_dir() else Path(__file__).resolve().parent.parent / "presets"


def _presets(params: Path) -> list[str]:
    return sorted(file.stem for file in presets_folder(params).glob("*.yaml"))


def _studies(params: Path) -> list[str]:
    files = (params.resolve().parent / "study").glob("*.yaml")
    return sorted(file.stem for file in files if file.stem != "dvc")


def _ids(params: Path, column: str) -> list[str]:
    """The values of a column of all rollouts that are there."""
    import pyarrow.parquet as pq

    found: dict[str, None] = {}
    for key in _loop(params):
        file = params.resolve().parent / "iterations" / key / "rollouts.parquet"
        if file.is_file():
            found |= dict.fromkeys(pq.read_table(file, columns=[column])[column].to_pylist())
    return list(found)


def _rollouts(params: Path) -> list[str]:
    return _ids(params, "rollout_id")


def _problems(params: Path) -> list[str]:
    return _ids(params, "problem_id")


iterations, models = _completion(_loop), _completion(_models)
tables, methods = _completion(_tables), _completion(_methods)
presets, studies = _completion(_presets), _completion(_studies)
rollouts, problems = _completion(_rollouts), _completion(_problems)
