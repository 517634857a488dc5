"""Where an epoch of distillation begins, where it keeps what it has done, and what it writes."""

from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from rosd_core.config.params import Params
from rosd_core.distill.checkpoint import Saves
from rosd_core.distill.optimizer_state import state_files
from rosd_core.forward.teachers import FOLDER, advance_ema
from rosd_core.models.student import Student, save_student
from rosd_core.tables.atomic import Publication, replacing_folder
from rosd_core.tables.hashing import code_hash, file_hash
from rosd_core.tables.origin import Origin
from stages.kept import kept
from stages.paths import Paths, start_of


def open_saves(params: Params, paths: Paths, origin: Origin, teacher: str, writes: bool) -> Saves:
    """The saves of a run of distill; `teacher` is its fingerprint. Those of sharded weights can be
    taken up by another number of processes.
    """
    key = start_of(params, origin.key)
    before = None if key == "base" else paths.optimizer(key)
    hashes = [file_hash(file) for file in state_files(before)] if before else []
    inputs = {"teacher": teacher, "optimizer": "+".join(hashes) or None}
    folder = kept(params, paths, origin, params.distill.sharding == "none", **inputs)
    return Saves(before, folder, params.distill.save_every, writes)


def write_model(
    student: Student,
    tokenizer: PreTrainedTokenizerBase,
    path: Path,
    merge: bool,
    ema: tuple[Path, float] | None,
    together: Publication,
) -> None:
    """models/<iteration>, with the next teacher in it where that is a running mean: `ema` has the
    folder of the present one and the rate.
    """
    with replacing_folder(path, together) as target:
        written = save_student(student, tokenizer, target, merge)
        if ema is not None:
            advance_ema(ema[0], written, ema[1], target / FOLDER)


def started_with(params: Params, origin: Origin) -> dict[str, Any]:
    """What all processes of a run must have in common: every value of its params by its whole key,
    the code, and the fingerprints of its inputs.
    """
    sections = params.model_dump(mode="json", include={"distill", "guards", "machine", "score"})
    values = {f"{name}.{key}": v for name, part in sections.items() for key, v in part.items()}
    values |= {f"loop.{origin.key}": params.loop[origin.key].start}
    return {**values, **origin.inputs, "the code of rosd": code_hash()}
