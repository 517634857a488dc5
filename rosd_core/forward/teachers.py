"""Teachers: which weights the self-teacher has, and how they come about.

| score.teacher | weights |
| --- | --- |
| base | the initial ones, frozen (the paper's) |
| current | those that sampled |
| ema | a running mean of the student's, one step per iteration; part of models/<iteration> |
| trust_region | logits (1 - mix) x base + mix x current |
"""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open

from rosd_core.forward.hidden_states import Part, Reader
from rosd_core.losses.head import Head, head_of
from rosd_core.models.loading import Student, load_weights

FOLDER = "teacher"  # in models/<iteration>: the weights of the ema


@dataclass(frozen=True)
class Taught:
    """Where the teacher is, when the table does not hold its log-probabilities: a head for stored
    hidden states, and a reader where the teacher itself is run.
    """

    head: Head
    reader: Reader | None = None


def teacher_folders(kind: str, base: Path, start: Path, mix: float) -> list[tuple[Path, float]]:
    """The folders that a teacher's weights are read from, each with its share of the logits."""
    if kind == "base":
        return [(base, 1.0)]
    if kind == "ema":  # one that lies in the base is that of an earlier run
        started = start != base and (start / FOLDER).is_dir()
        return [(start / FOLDER if started else start, 1.0)]
    if kind == "trust_region" and start != base and 0 < mix < 1:
        return [(base, 1 - mix), (start, mix)]
    return [(base if kind == "trust_region" and mix == 0 else start, 1.0)]


def open_reader(
    folders: list[tuple[Path, float]],
    device: str,
    pad_id: int,
    batch_tokens: int,
    loaded: dict[Path, Part] | None = None,
) -> Reader:
    """A reader of these weights; what is in `loaded` is not loaded again."""
    parts = []
    for folder, share in folders:
        part = (loaded or {}).get(folder) or Part(load_weights(folder, device))
        parts.append(Part(part.model, share, part.within))
    return Reader(tuple(parts), pad_id, batch_tokens)


def open_taught(
    folders: list[tuple[Path, float]],
    device: str,
    pad_id: int,
    batch_tokens: int,
    student: Student,
    targets: str,
) -> Taught | None:
    """What score.targets leaves to the distill stage: the teacher's head where its hidden states
    are stored, the teacher itself where nothing is (a teacher that is the base of the student's
    adapter is the student with its adapter off), no teacher for stored log-probabilities.
    """
    if targets == "topk":
        return None
    if targets == "hidden":
        return Taught(load_head(folders, device))
    loaded = {}
    if student.adapter is not None and student.base is not None:
        loaded[student.base] = Part(student.model, within=student.adapter.disable_adapter)
    reader = open_reader(folders, device, pad_id, batch_tokens, loaded)
    return Taught(reader.head(), reader)


def load_head(folders: list[tuple[Path, float]], device: str) -> Head:
    """The head of a teacher whose hidden states are stored: where the file allows it, nothing else
    is read.
    """
    heads = [_head_alone(folder) or head_of(load_weights(folder, "cpu")) for folder, _ in folders]
    shares = [share for _, share in folders]
    joined = torch.cat([s * h.weight_VH.detach() for s, h in zip(shares, heads, strict=True)], 1)
    biases = [
        s * h.bias_V.detach() for s, h in zip(shares, heads, strict=True) if h.bias_V is not None
    ]
    return Head(joined.to(device), sum(biases[1:], biases[0]).to(device) if biases else None)


def _head_alone(folder: Path) -> Head | None:
    """The head's tensors from safetensors, by the names that most models give them."""
    index, single = folder / "model.safetensors.index.json", folder / "model.safetensors"
    if index.is_file():
        where = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
    elif single.is_file():
        with safe_open(single, "pt") as file:
            where = dict.fromkeys(file.keys(), single.name)
    else:
        return None
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    odd = ("final_logit_softcapping", "logits_scaling", "logit_scale")
    if "lm_head.bias" in where or any(config.get(name) not in (None, 1, 1.0) for name in odd):
        return None
    name = next((n for n in ("lm_head.weight", "model.embed_tokens.weight") if n in where), None)
    if name is None or (name != "lm_head.weight" and not config.get("tie_word_embeddings")):
        return None
    with safe_open(folder / where[name], "pt") as file:
        return Head(file.get_tensor(name).float())


@torch.no_grad()
def advance_ema(teacher_folder: Path, student: Student, rate: float, target: Path) -> None:
    """theta_T <- (1 - rate) theta_T + rate theta_S, parameter by parameter, written to `target`."""
    teacher = load_weights(teacher_folder, "cpu")
    students = dict(student.model.named_parameters())
    for name, parameter in teacher.named_parameters():
        parameter.lerp_(students[name].to(parameter), rate)
    teacher.save_pretrained(target)
