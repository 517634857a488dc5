"""Reading params.yaml. Every complaint names the key, what is allowed and, for an unknown key, the
nearest valid name.

Read with ruamel (YAML 1.2, so that `1e-4` is a number).
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from rosd_core.config.domains import FileDomain, GymDomain, PocketDomain, TableDomain
from rosd_core.config.params import Iteration, Params
from rosd_core.errors import RosdError

DOMAINS = ("prepare", "domains")
NO_VALUE = ("missing", "extra_forbidden")  # complaints about a key


def _section_at(path: tuple[Any, ...]) -> type[BaseModel] | None:
    """The model that has, or lacks, the key at the end of `path`."""
    if path[:2] == DOMAINS:
        models = (PocketDomain, FileDomain, TableDomain, GymDomain)
        by_task = {t: m for m in models for t in get_args(m.model_fields["task"].annotation)}
        return by_task.get(path[3]) if len(path) > 4 else None
    model: Any = Params
    for name in path[:-1]:
        fields = model.model_fields if _is_model(model) else {}
        if name not in fields:
            return Iteration if path[0] == "loop" else None
        model = _without_none(fields[name].annotation)
    return model if _is_model(model) else None


def _without_none(annotation: Any) -> Any:
    """The model of a section that may be missing."""
    parts = get_args(annotation)
    models = [part for part in parts if _is_model(part)]
    return models[0] if type(None) in parts and len(models) == 1 else annotation


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _explain(error: Mapping[str, Any], file: Path) -> str:
    """One line for one complaint of pydantic."""
    path = tuple(p for p in error["loc"] if p != "[key]")
    # pydantic puts the task's name into the path of a domain
    keys = path[:3] + path[4:] if path[:2] == DOMAINS else path
    key = ".".join(map(str, keys))
    section = _section_at(path)
    if error["type"] == "extra_forbidden":
        valid = list(section.model_fields) if section else []
        from rapidfuzz import process  # imported only where a key is wrong

        near = process.extractOne(str(path[-1]), valid)
        hint = f" Did you mean {near[0]!r}?" if near and near[1] >= 50 else ""
        return f"{file}: unknown key {key!r}.{hint} Allowed there: {', '.join(valid)}."
    if error["type"] == "missing" and isinstance(path[-1], int):
        whole = ".".join(map(str, keys[:-1]))
        return f"{file}: {whole} = {error['input']!r} is not allowed: it has too few values."
    if error["type"] == "missing":
        return f"{file}: the key {key!r} is missing."
    if error["type"] == "value_error":
        return f"{file}: {str(error['msg']).removeprefix('Value error, ')}."
    return f"{file}: {key} = {error['input']!r} is not allowed: {error['msg']}."


def _by_value(errors: Iterable[Mapping[str, Any]], data: Any) -> list[dict[str, Any]]:
    """Complaints with the paths of values. Of a value that may be of several types pydantic has one
    complaint for each, with the type at the end of its path: they become one.
    """
    found: list[dict[str, Any]] = []
    for error in errors:
        loc = error["loc"]
        if error["type"] not in NO_VALUE and loc[:2] != DOMAINS:
            loc = _in_data(loc, data)
        last = found[-1] if found else None
        if last and loc and last["loc"] == loc and last["type"] not in NO_VALUE:
            last["msg"] = f"{last['msg']}, or {error['msg']}"
        else:
            found.append(dict(error) | {"loc": loc})
    return found


def _in_data(loc: Sequence[Any], data: Any) -> tuple[Any, ...]:
    """The part of a path that leads to a value of the file."""
    for size, part in enumerate(loc):
        within = isinstance(data, Mapping) and part in data
        if not within and not (isinstance(data, list) and part in range(len(data))):
            return tuple(loc[:size])
        data = data[part]
    return tuple(loc)


@lru_cache(maxsize=1)
def _parsed(text: str) -> Any:
    return YAML(typ="safe").load(text)


def load_params(file: Path, shown_as: Path | None = None) -> Params:
    """Read and validate a params file. Raises RosdError with one line per complaint, which names
    the file as `shown_as`.
    """
    name = shown_as or file
    try:
        data = _parsed(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RosdError(
            f"{name}: no such file. Run from the project's folder, or name it with --params."
        ) from None
    except UnicodeDecodeError as error:
        raise RosdError(f"{name}: not UTF-8: {error}.") from None
    except YAMLError as error:
        mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", error)
        place = f" in line {mark.line + 1}" if mark is not None else ""
        raise RosdError(f"{name}: not valid YAML{place}: {problem}.") from None
    if not isinstance(data, Mapping):
        raise RosdError(f"{name}: empty, or not a mapping of sections.")
    try:
        return Params.model_validate(data)
    except ValidationError as error:
        complaints = _by_value(error.errors(), data)
        lines = dict.fromkeys(_explain(e, name) for e in complaints)  # each once
        raise RosdError("\n".join(lines)) from None
