"""What the stages share: where things lie, and how a folder is published whole."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rosd_core.base import resolve
from rosd_core.errors import RosdError
from rosd_core.params import Params, PromptTexts
from rosd_core.prompts import Prompts
from rosd_core.tables import replacing


@dataclass(frozen=True)
class Paths:
    """Every path of the project, from the folder that holds params.yaml."""

    root: Path

    @property
    def problems(self) -> Path:
        return self.root / "data" / "problems.parquet"

    def model(self, key: str) -> Path:
        return self.root / "models" / key

    def weights(self, key: str) -> Path:
        """Where to read a model from: its folder, or the one that a pointer there names."""
        return resolve(self.model(key))

    def table(self, name: str, key: str) -> Path:
        """`rollouts`, `reflections`, `alignments`, `scores` of an iteration."""
        return self.root / "iterations" / key / f"{name}.parquet"

    def evaluation(self, key: str) -> Path:
        return self.root / "evaluations" / f"{key}.parquet"

    def metrics(self, stage: str, key: str) -> Path:
        return self.root / "metrics" / f"{stage}-{key}.json"

    def curve(self, key: str) -> Path:
        return self.root / "curves" / f"{key}.csv"

    def plots(self, name: str) -> Path:
        return self.root / "plots" / f"{name}.csv"


def start_of(params: Params, iteration: str) -> str:
    """The model that an iteration starts from."""
    if iteration not in params.loop:
        raise RosdError(
            f"iteration {iteration!r} is not in params.yaml: loop. "
            f"There are: {', '.join(params.loop)}."
        )
    return params.loop[iteration].start


def link_base(paths: Paths, there: Paths) -> None:
    """Let another project folder use this one's base model; nothing is copied."""
    there.model("base").parent.mkdir(parents=True)
    there.model("base").symlink_to(paths.model("base").resolve(), target_is_directory=True)


def prompts_of(texts: PromptTexts) -> Prompts:
    return Prompts(
        texts.plain,
        texts.reflect_wrong,
        texts.reflect_correct,
        texts.with_idea,
        texts.with_solution,
        texts.enable_thinking,
    )


def set_threads(threads: int) -> None:
    """Fix the number of OpenMP threads: it is part of the result, because it changes the order of
    sums.
    """
    import torch

    torch.set_num_threads(threads)


def write_json(path: Path, data: Any) -> None:
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder beside `path`; on success it takes the place of `path`, on failure it
    goes.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        yield temporary
        if path.exists():
            shutil.rmtree(path)
        temporary.replace(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
