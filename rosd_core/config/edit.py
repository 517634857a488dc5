"""Changes of params: in memory, and of params.yaml in place."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from rosd_core.config.load import load_params
from rosd_core.config.methods import METHODS, set_keys
from rosd_core.config.params import Params
from rosd_core.errors import RosdError
from rosd_core.tables.atomic import replacing


def _settings(method: str) -> dict[str, str | bool]:
    if method not in METHODS:
        raise RosdError(f"there is no method {method!r}; there are: {', '.join(METHODS)}.")
    return METHODS[method]


def with_values(params: Params, values: Mapping[str, Any]) -> Params:
    """The same params with these `section.key` values."""
    data = params.model_dump()
    set_keys(data, values)
    return Params.model_validate(data)


def with_method(params: Params, method: str) -> Params:
    """The same params with the settings of a method. Raises RosdError for an unknown one."""
    return with_values(params, _settings(method))


def with_seed(params: Params, seed: int) -> Params:
    """The same params with this seed wherever something is drawn, except for the problems."""
    sections = ("rollout", "reflect", "distill", "evaluate")
    return with_values(params, {f"{section}.seed": seed for section in sections})


def round_trip_yaml() -> YAML:
    """A reader and writer of YAML that keeps comments, quotes and long lines."""
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 4096
    yaml.representer.add_representer(
        type(None), lambda writer, _: writer.represent_scalar("tag:yaml.org,2002:null", "null")
    )
    return yaml


def rewrite(file: Path, change: Callable[[Any, YAML], None]) -> None:
    """Change params.yaml in place. Comments and other keys stay; an invalid result is refused."""
    load_params(file)
    yaml = round_trip_yaml()
    data = yaml.load(file.read_text(encoding="utf-8"))
    change(data, yaml)
    with replacing(file) as temporary:
        with temporary.open("w", encoding="utf-8") as stream:
            yaml.dump(data, stream)
        load_params(temporary, shown_as=file)


def rewrite_method(file: Path, method: str) -> None:
    """Set the keys that make a method, such as align.teacher_context, and leave all others."""
    settings = _settings(method)
    rewrite(file, lambda data, yaml: set_keys(data, settings))


def set_loop(data: Any, yaml: YAML, iterations: int) -> None:
    """Set `loop:` of loaded params to i1..iN, each starting from the one before."""
    if iterations < 1:
        raise RosdError(f"{iterations} iterations; at least 1 is needed.")
    loop, keys = data["loop"], [f"i{n}" for n in range(1, iterations + 1)]
    for key in set(loop) - set(keys):
        del loop[key]
    for key, start in zip(keys, ["base", *keys], strict=False):
        if key not in loop:
            item = yaml.map(start=start)
            item.fa.set_flow_style()
            loop[key] = item


def rewrite_loop(file: Path, iterations: int) -> None:
    """Set the number of iterations; comments and other keys stay."""
    rewrite(file, lambda data, yaml: set_loop(data, yaml, iterations))
