"""Where a stage keeps what it has done, in case it is stopped, and what that work depends on."""

import os
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

from rosd_core.config.params import Params
from rosd_core.tables.hashing import code_hash
from rosd_core.tables.origin import Origin
from rosd_core.tables.scratch import scratch_folder
from stages.paths import Paths

PACKAGES = ("torch", "transformers", "pyarrow")
# where the work is done changes no result, nor does what the stage says of it at its end
ELSEWHERE = {"engine": {"workers", "address"}, "score": {"lift"}}


def kept(
    params: Params, paths: Paths, origin: Origin, by_processes: bool = True, **more: str | None
) -> Path:
    """The folder for the work of a run: of its origin, of what the sizes of its shards and the last
    bits of its numbers depend on (`by_processes`: how many there are), of `more` inputs, and of the
    code as it is.
    """
    sections = {origin.stage, "machine", "engine"}
    elsewhere = {f"{section}.{key}" for section, keys in ELSEWHERE.items() for key in keys}
    values = {name: value for name, value in origin.params.items() if name not in elsewhere}
    quantized = origin.stage == "distill" and params.distill.quantized
    packages = (*PACKAGES, "bitsandbytes", "peft") if quantized else PACKAGES
    made_of = {
        "origin": replace(origin, params=values).text(),
        "params": params.model_dump(mode="json", include=sections, exclude=ELSEWHERE),
        "more": more,
        "code": code_hash(),
        "versions": {package: version(package) for package in packages},
        "processes": os.environ.get("WORLD_SIZE", "1") if by_processes else None,
    }
    return scratch_folder(paths.root, origin.stage, origin.key, made_of)
