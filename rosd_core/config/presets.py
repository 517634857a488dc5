"""Presets: named sets of params (`presets/*.yaml`) that override params.yaml.

A preset holds sections of params.yaml with some of their keys, `extends` (presets that apply before
it) and, in place of the block, `loop` as a number of iterations.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.scalarstring import LiteralScalarString

from rosd_core.config.edit import rewrite, set_loop
from rosd_core.config.load import load_params
from rosd_core.config.params import Params
from rosd_core.errors import RosdError


def names(folder: Path) -> list[str]:
    return sorted(file.stem for file in folder.glob("*.yaml"))


def overlay(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`under` updated by `over`, mapping by mapping; neither is changed."""
    merged = dict(under)
    for key, value in over.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = overlay(merged[key], value) if both else value
    return merged


def read_preset(folder: Path, name: str) -> dict[str, Any]:
    """The content of a preset's file. Raises RosdError for an unknown name."""
    file = folder / f"{name}.yaml"
    if not file.is_file():
        raise RosdError(f"preset {name!r} is unknown; there are: {', '.join(names(folder))}.")
    try:
        return YAML(typ="safe").load(file.read_text(encoding="utf-8"))
    except YAMLError as error:
        raise RosdError(f"{file}: not YAML: {error}") from None


def combine(folder: Path, chosen: Sequence[str]) -> dict[str, Any]:
    """The chosen presets as one: later ones override earlier ones, and the presets that they extend
    apply first, each once.
    """
    own = {name: read_preset(folder, name) for name in chosen}
    below = dict.fromkeys(other for data in own.values() for other in data.pop("extends", []))
    merged = combine(folder, list(below)) if below else {}
    for name, data in own.items():
        merged = merged if name in below else overlay(merged, data)
    return merged


def apply_presets(file: Path, folder: Path, chosen: Sequence[str]) -> Params:
    """Apply presets to a params file, from left to right; comments and other keys stay.

    `prepare.domains` is replaced as a whole. The result is validated before it replaces the file.
    Raises RosdError.
    """
    merged = combine(folder, chosen)

    def apply(target: Any, source: Mapping[str, Any], path: str) -> None:
        for key, value in source.items():
            here = f"{path}.{key}" if path else key
            if isinstance(value, str) and "\n" in value:
                target[key] = LiteralScalarString(value)
            elif here == "prepare.domains" or not isinstance(value, Mapping):
                target[key] = value
            elif key not in target:
                raise RosdError(f"preset {'+'.join(chosen)}: params.yaml has no key {here!r}.")
            elif target[key] is None:
                target[key] = value
            else:
                apply(target[key], value, here)

    def change(data: Any, yaml: YAML) -> None:
        iterations = merged.pop("loop", None)
        apply(data, merged, "")
        if iterations is not None:
            set_loop(data, yaml, iterations)

    rewrite(file, change)
    return load_params(file)


def missing_files(params: Params, root: Path) -> list[str]:
    """The files named in prepare.domains that do not exist."""
    named = []
    for domain in params.prepare.domains.values():
        for split in ("train", "test"):
            file = getattr(domain, f"{split}_file", None)
            if file and getattr(domain, split) != 0 and not file.startswith("hf://"):
                named.append(file)
    return [file for file in dict.fromkeys(named) if not (root / file).is_file()]
