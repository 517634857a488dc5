"""Teachers: which weights the self-teacher has, and how they are obtained.

| score.teacher | weights |
| --- | --- |
| base | the initial ones, frozen (the paper's) |
| current | those that sampled |
| ema | a running mean of the student's, one step per iteration; part of models/<iteration> |
| trust_region | logits (1 - mix) x base + mix x current |
| {model: M} | those of another model, of the same tokenizer |
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import safe_open

from rosd_core.errors import RosdError
from rosd_core.forward.hidden_states import MixPart, ModelMix
from rosd_core.losses.head import SCALED_LOGITS, Head, head_of, mixed_head
from rosd_core.models.loading import load_tokenizer, load_weights
from rosd_core.models.student import Student
from rosd_core.tables.hashing import fingerprint

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

FOLDER = "teacher"  # in models/<iteration>: the weights of the ema

Shares = Sequence[tuple[Path, float]]  # the folders of a teacher's weights and their shares


@dataclass(frozen=True)
class Teacher:
    """The teacher in the distill stage, where the score table does not hold its log-probabilities:
    a head for stored hidden states, and the model itself where it runs beside the student.
    """

    head: Head
    live: ModelMix | None = None


def teacher_shares(teacher: str | Path, base: Path, start: Path, mix: float) -> Shares:
    """The folders that a teacher's weights are read from, each with its share of the logits; a path
    is the folder of another model.
    """
    if isinstance(teacher, Path):
        return [(teacher, 1.0)]
    if teacher == "base":
        return [(base, 1.0)]
    if teacher == "ema":  # a folder in the base belongs to an earlier run
        advanced = start != base and (start / FOLDER).is_dir()
        return [(start / FOLDER if advanced else start, 1.0)]
    if teacher == "trust_region" and start != base and 0 < mix < 1:
        return [(base, 1 - mix), (start, mix)]
    return [(base if teacher == "trust_region" and mix == 0 else start, 1.0)]


def teacher_fingerprint(shares: Shares) -> str:
    """The fingerprint of a teacher's weights; of a mix, those of its parts with their shares."""
    if len(shares) == 1:
        return fingerprint(shares[0][0])
    return " + ".join(f"{share:g} x {fingerprint(folder)}" for folder, share in shares)


def refuse_other_teacher(scored_by: Sequence[str], shares: Shares) -> None:
    """Raises RosdError where the score table is of another teacher; `scored_by` are the
    fingerprints in it.
    """
    teacher = teacher_fingerprint(shares)
    if others := sorted(set(scored_by) - {teacher}):
        raise RosdError(
            f"scores.parquet was written with the teacher {others[0]}, but the teacher is now "
            f"{teacher} ({shares[0][0]}); run `rosd score` again."
        )


def refuse_other_tokenizer(teacher: Path, student: "PreTrainedTokenizerBase") -> None:
    """Raises RosdError where a teacher's token ids do not mean what the student's mean."""
    theirs, ours = load_tokenizer(teacher).get_vocab(), student.get_vocab()
    if theirs != ours:
        odd = min(
            (
                token
                for token in theirs.keys() | ours.keys()
                if theirs.get(token) != ours.get(token)
            ),
            key=lambda token: ours.get(token, len(ours)),
        )
        raise RosdError(
            f"score.teacher: {teacher} has another tokenizer than the student: {odd!r} is id "
            f"{ours.get(odd)} for the student and {theirs.get(odd)} for the teacher. The teacher "
            "reads the student's tokens, so both need the same one."
        )


def load_mix(
    shares: Shares, device: str, pad_id: int, loaded: Mapping[Path, MixPart] | None = None
) -> ModelMix:
    """The models of these folders; those in `loaded` are not loaded again."""
    parts = []
    for folder, share in shares:
        part = (loaded or {}).get(folder) or MixPart(load_weights(folder, device))
        parts.append(MixPart(part.model, share, part.within))
    return ModelMix(tuple(parts), pad_id)


def load_pair(start: Path, shares: Shares, device: str, pad_id: int) -> tuple[ModelMix, ModelMix]:
    """The student in `start`, and its teacher; what they have in common is loaded once."""
    student = load_mix([(start, 1.0)], device, pad_id)
    teacher = load_mix(shares, device, pad_id, {start: student.parts[0]})
    _refuse_other_head(student.head(), teacher.head(), shares)
    return student, teacher


def _refuse_other_head(student: Head, teacher: Head, shares: Shares) -> None:
    ours, theirs = len(student.matrix_VH), len(teacher.matrix_VH)
    if ours != theirs:
        raise RosdError(
            f"score.teacher: the head of {shares[0][0]} has {theirs} rows, that of the student "
            f"{ours}; the two cannot be compared id by id."
        )


def open_teacher(
    shares: Shares, device: str, pad_id: int, student: Student, targets: str
) -> Teacher | None:
    """The teacher that score.targets leaves to the distill stage: nothing for `topk`, its head for
    `hidden`, the model for `none`. A teacher that is the base of the student's adapter is the
    student's own model with the adapter switched off, unless that is in 4 bits.
    """
    if targets == "topk":
        return None
    if targets == "hidden":
        return Teacher(load_head(shares, device))
    loaded = {}
    if student.adapter is not None and student.base is not None and not student.quantized:
        loaded[student.base] = MixPart(student.model, within=student.adapter.disable_adapter)
    live = load_mix(shares, device, pad_id, loaded)
    _refuse_other_head(head_of(student.model), live.head(), shares)
    return Teacher(live.head(), live)


def load_head(shares: Shares, device: str) -> Head:
    """A teacher's head; where the file allows it, nothing else is read."""
    heads = [_head_alone(folder) or head_of(load_weights(folder, "cpu")) for folder, _ in shares]
    head = mixed_head(heads, [share for _, share in shares])
    bias_V = None if head.bias_V is None else head.bias_V.detach().to(device)
    return Head(head.matrix_VH.detach().to(device), bias_V)


def _tensor_files(folder: Path) -> dict[str, str]:
    """Tensor name -> safetensors file of a model folder; empty where there is none."""
    index, single = folder / "model.safetensors.index.json", folder / "model.safetensors"
    if index.is_file():
        return json.loads(index.read_text(encoding="utf-8"))["weight_map"]
    if not single.is_file():
        return {}
    with safe_open(single, "pt") as file:
        return dict.fromkeys(file.keys(), single.name)


def _head_alone(folder: Path) -> Head | None:
    """The head's matrix from safetensors, by the names that most models give it."""
    files = _tensor_files(folder)
    if not files:
        return None
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if "lm_head.bias" in files or any(
        config.get(name) not in (None, 1, 1.0) for name in SCALED_LOGITS
    ):
        return None
    name = next((n for n in ("lm_head.weight", "model.embed_tokens.weight") if n in files), None)
    if name is None or (name != "lm_head.weight" and not config.get("tie_word_embeddings")):
        return None
    with safe_open(folder / files[name], "pt") as file:
        return Head(file.get_tensor(name).float())


@torch.no_grad()
def advance_ema(
    teacher_folder: Path, student: "PreTrainedModel", rate: float, target: Path
) -> None:
    """theta_T <- (1 - rate) theta_T + rate theta_S, parameter by parameter, written to `target`."""
    teacher = load_weights(teacher_folder, "cpu")
    students = dict(student.named_parameters())
    for name, parameter in teacher.named_parameters():
        parameter.lerp_(students[name].to(parameter), rate)
    teacher.save_pretrained(target)
