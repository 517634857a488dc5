"""Changes of params: in memory, and of params.yaml in place."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from rosd_core.config.methods import METHODS
from rosd_core.config.params import Params, load_params
from rosd_core.errors import RosdError
from rosd_core.tables.atomic import replacing


def with_method(params: Params, name: str) -> Params:
    """The same params with the settings of a method. Raises RosdError for an unknown one."""
    if name not in METHODS:
        raise RosdError(f"method: {name!r} is unknown; there are: {', '.join(METHODS)}.")
    data = params.model_dump()
    for key, value in METHODS[name].items():
        section, _, field = key.partition(".")
        data[section][field] = value
    return Params.model_validate(data)


def with_seed(params: Params, seed: int) -> Params:
    """The same params with this seed wherever something is drawn, but for the problems."""
    data = params.model_dump()
    for section in ("rollout", "reflect", "distill", "evaluate"):
        data[section]["seed"] = seed
    return Params.model_validate(data)


def rewrite(file: Path, change: Callable[[Any, YAML], None]) -> None:
    """Change params.yaml in place: comments and all else stay, a bad result is refused."""
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 4096
    yaml.representer.add_representer(
        type(None), lambda writer, _: writer.represent_scalar("tag:yaml.org,2002:null", "null")
    )
    data = yaml.load(file.read_text(encoding="utf-8"))
    change(data, yaml)
    with replacing(file) as temporary:
        with temporary.open("w", encoding="utf-8") as stream:
            yaml.dump(data, stream)
        load_params(temporary)


def rewrite_method(file: Path, name: str) -> None:
    """Set the keys that make a method, such as align.teacher_context, and leave all others."""
    if name not in METHODS:
        raise RosdError(f"method: {name!r} is unknown; there are: {', '.join(METHODS)}.")
    load_params(file)

    def change(data: Any, yaml: YAML) -> None:
        for key, value in METHODS[name].items():
            section, _, field = key.partition(".")
            data[section][field] = value

    rewrite(file, change)


def set_loop(data: Any, yaml: YAML, iterations: int) -> None:
    """Set `loop:` of loaded params to i1..iN, each from the one before."""
    if iterations < 1:
        raise RosdError(f"loop: {iterations} iterations asked for; at least 1 is needed.")
    loop = data["loop"]
    for key in list(loop):
        if key not in {f"i{n}" for n in range(1, iterations + 1)}:
            del loop[key]
    for n in range(1, iterations + 1):
        if f"i{n}" not in loop:
            item = yaml.map(start=f"i{n - 1}" if n > 1 else "base")
            item.fa.set_flow_style()
            loop[f"i{n}"] = item


def rewrite_loop(file: Path, iterations: int) -> None:
    """Set the number of iterations; comments and all else stay as they are."""
    rewrite(file, lambda data, yaml: set_loop(data, yaml, iterations))
