"""What a stage keeps of its work in case it is stopped, and what that work depends on."""

import os
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

from rosd_core.config.params import Params
from rosd_core.models.loading import base_of, is_adapter
from rosd_core.tables.hashing import code_hash, file_hash, folder_hash
from rosd_core.tables.scratch import scratch_folder
from stages.paths import Paths

PACKAGES = ("torch", "transformers", "pyarrow")
ELSEWHERE = {"engine": {"workers", "address"}}  # where the work is done changes no result


def kept(
    params: Params,
    paths: Paths,
    stage: str,
    name: str,
    sections: Iterable[str],
    files: Iterable[Path],
    models: Iterable[Path],
) -> Path:
    """The folder for the work of a stage on an iteration or a model: of these sections of params,
    these files, these models with their tokenizers, and the code as it is.
    """
    folders = [f for m in models for f in ([m, base_of(m)] if is_adapter(m) else [m])]
    made_of = {
        "params": params.model_dump(mode="json", include=set(sections), exclude=ELSEWHERE),
        "files": {file.name: file.is_file() and file_hash(file) for file in files},
        "models": [folder.is_dir() and folder_hash(folder) for folder in folders],
        "code": code_hash(),
        "versions": {package: version(package) for package in PACKAGES},
        "processes": os.environ.get("WORLD_SIZE", "1"),
    }
    return scratch_folder(paths.root, stage, name, made_of)
