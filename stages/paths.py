"""What the stages share: the project's paths, and the number of threads."""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rosd_core.config.engines import OtherModel
from rosd_core.config.params import Params
from rosd_core.errors import RosdError
from rosd_core.models.pointer import find_model, resolve
from rosd_core.tables.lock import one_writer

# what each stage writes, from the project's folder; {key}: an iteration, base or all
OUTPUTS = {
    "prepare": ("data/problems.parquet",),
    "bootstrap": ("models/{key}",),
    "rollout": ("iterations/{key}/rollouts.parquet",),
    "reflect": ("iterations/{key}/reflections.parquet",),
    "align": ("iterations/{key}/alignments.parquet",),
    "score": ("iterations/{key}/scores.parquet",),
    "distill": ("models/{key}", "optimizers/{key}", "curves/{key}.csv"),
    "evaluate": ("evaluations/{key}.parquet",),
    "report": ("report.html", "plots/accuracy.csv", "plots/loss.csv"),
    "finetune": ("models/{key}", "curves/{key}.csv"),
    "study": ("study/{key}/results.parquet", "study/{key}/tables.md"),
}
KEYS = {"prepare": "all", "bootstrap": "base", "report": "all"}  # of stages that run once


@dataclass(frozen=True)
class Paths:
    """Every path of the project, from the folder that holds params.yaml. A run of a study has a
    folder of its own, `root`, and shares the files that params name with its `project`.
    """

    root: Path
    project: Path | None = None

    def given(self, name: str) -> Path:
        """A file or folder that params name: relative paths count from the project's folder."""
        return (self.project or self.root) / Path(name).expanduser()

    @property
    def problems(self) -> Path:
        return self.root / "data" / "problems.parquet"

    def model(self, key: str) -> Path:
        return self.root / "models" / key

    def model_folder(self, key: str) -> Path:
        """Where a model's files are: its folder, or the one that a pointer there names."""
        return resolve(self.model(key))

    def with_files(self, domain: dict[str, Any]) -> dict[str, Any]:
        """The entry of a domain with its files as seen from here; `hf://` names and null stay."""
        named = {key: domain.get(key) for key in ("train_file", "test_file")}
        here = {k: v for k, v in named.items() if v is not None and not v.startswith("hf://")}
        return domain | {key: str(self.given(file)) for key, file in here.items()}

    def other_model(self, name: str) -> Path:
        """The folder of a model beside the student's: a folder, seen from the project's, or an id
        on the hub. Raises RosdError where it has no weights that a fingerprint can be made of.
        """
        here = self.given(name)
        folder = here.resolve() if here.is_dir() else find_model(name, None)[0]
        if not any(folder.glob("*model*.safetensors")):
            raise RosdError(f"{folder}: no model*.safetensors; convert the weights to safetensors.")
        return folder

    def teacher(self, teacher: str | OtherModel) -> str | Path:
        """`score.teacher` with the folder of another model."""
        return teacher if isinstance(teacher, str) else self.other_model(teacher.model)

    def optimizer(self, key: str) -> Path:
        """Of an iteration: what the next one needs to continue its optimizer."""
        return self.root / "optimizers" / key

    def table(self, name: str, key: str) -> Path:
        """`rollouts`, `reflections`, `alignments`, `scores` of an iteration."""
        return self.root / "iterations" / key / f"{name}.parquet"

    def evaluation(self, key: str) -> Path:
        return self.root / "evaluations" / f"{key}.parquet"

    def outputs(self, stage: str, key: str) -> list[Path]:
        """What a run of a stage writes, its metrics among it."""
        metrics = self.metrics("summary" if stage == "report" else stage, key)
        return [*(self.root / name.format(key=key) for name in OUTPUTS[stage]), metrics]

    def metrics(self, stage: str, key: str) -> Path:
        return self.root / "metrics" / f"{stage}-{key}.json"

    @property
    def page(self) -> Path:
        return self.root / "report.html"

    def curve(self, key: str) -> Path:
        return self.root / "curves" / f"{key}.csv"

    def plots(self, name: str) -> Path:
        return self.root / "plots" / f"{name}.csv"


@contextmanager
def the_only_run(paths: Paths, stage: str, args: Sequence[object]) -> Iterator[None]:
    """Hold the lock of a stage and its key, which is the first or (finetune) the last of the
    command's arguments. Of the processes that torchrun started, the first one holds it. Raises
    RosdError where another process does.
    """
    key = KEYS.get(stage) or str(args[-1] if stage == "finetune" else args[0])
    if Path(key).name != key:
        raise RosdError(f"{key!r} is no name: it would lead to other folders of the project.")
    if os.environ.get("RANK", "0") != "0":
        yield
        return
    with one_writer(paths.root, f"{stage}-{key}", paths.outputs(stage, key)):
        yield


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


def warn_shortened(stage: str, shortened: int, prompts: int) -> None:
    """Say on stderr that prompts did not fit, if some did not."""
    if shortened:
        print(
            f"rosd {stage}: {shortened} of {prompts} prompts exceeded {stage}.max_prompt_tokens "
            "and lost the middle of their longest part; see the column shortened.",
            file=sys.stderr,
        )


def set_threads(threads: int) -> None:
    """Fix the number of OpenMP threads: it is part of the result, because it changes the order of
    sums.
    """
    import torch

    torch.set_num_threads(threads)
