"""Teach a pretrained model the pocket world: to solve with misconceptions, to reflect, and to make
no error of a kind that an idea names.

Plain AdamW, as in the recipe of the pocket model, on a course whose steps depend on their numbers
alone; so a run that was stopped gives the weights of one that was not.
"""

import math
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from rosd_core.distill.checkpoint import last_save
from rosd_core.errors import RosdError
from rosd_core.forward.packing import can_pack, packed_attention
from rosd_core.pocket.checkpoint import Progress, restore, save
from rosd_core.pocket.course import Course
from rosd_core.pocket.encoding import Encoded
from rosd_core.pocket.measure import Exam, measure
from rosd_core.pocket.reply_loss import backward, read_rows
from rosd_core.seeds import row_seed
from rosd_core.tables.progress import quiet


@dataclass(frozen=True)
class Teaching:
    """How the weights move: `params.yaml: finetune`; the names are the same there."""

    betas: tuple[float, float]
    weight_decay: float
    grad_clip: float
    batch_tokens: int
    autocast: str
    save_every: int
    measure_every: int
    until: Mapping[Any, float]


def teach(
    model: PreTrainedModel,
    course: Course,
    encode_step: Callable[[int], list[Encoded]],
    exam: Exam,
    teaching: Teaching,
    pad: int,
    work: Path,
    begun: Mapping[str, Any],
) -> list[dict[str, Any]]:
    """Train until the course ends, or its last part has reached `until`; the measurements.

    Goes on from the last save in `work`; `begun` says what is taught, and has to be the same then.
    """
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    optimizer = torch.optim.AdamW(
        list(trained.values()), betas=teaching.betas, weight_decay=teaching.weight_decay
    )
    progress, saved = Progress(0, 0.0, [], []), last_save(work)
    if saved is not None:
        progress = restore(saved, trained, optimizer, begun)
        _say(f"goes on after {progress.step} of {course.steps} steps")
    with packed_attention(model) if can_pack(model) else nullcontext():
        while progress.step < course.steps and not _reached(progress, course, teaching.until):
            began, number = time.monotonic(), progress.step
            loss = _step(model, optimizer, encode_step(number), course, number, teaching, pad)
            took = progress.seconds + time.monotonic() - began
            progress = Progress(number + 1, took, [*progress.losses, loss], progress.curve)
            due = _due(progress.step, course, teaching.measure_every)
            if due:
                progress = _measured(model, exam, course, progress, teaching, pad)
            if due or _due(progress.step, course, teaching.save_every):
                save(work, trained, optimizer, progress, begun)
                _say(
                    f"step {progress.step} of {course.steps}: loss {loss:.3f}, "
                    f"{progress.seconds / progress.step:.1f} s a step"
                )
    model.eval()
    return progress.curve


def _step(
    model: PreTrainedModel,
    optimizer: torch.optim.Optimizer,
    rows: list[Encoded],
    course: Course,
    number: int,
    teaching: Teaching,
    pad: int,
) -> float:
    """One optimizer step; its mean loss per token. Dropout depends on its number. Raises RosdError
    where loss or gradient is not finite.
    """
    model.train()
    torch.manual_seed(row_seed(course.seed, "step", number))
    group = optimizer.param_groups[0]
    group["lr"] = course.rate(number)
    loss = backward(model, rows, pad, teaching.batch_tokens, teaching.autocast)
    norm = torch.nn.utils.clip_grad_norm_(group["params"], teaching.grad_clip).item()
    if not math.isfinite(loss + norm):
        raise RosdError(
            f"training diverged at step {number}: loss {loss:g}, gradient norm {norm:g}. Lower the "
            "learning rates in finetune.phases, and run it again without its saves."
        )
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return loss


def _due(step: int, course: Course, every: int) -> bool:
    return step % every == 0 or step == course.steps


def _measured(
    model: PreTrainedModel,
    exam: Exam,
    course: Course,
    progress: Progress,
    teaching: Teaching,
    pad: int,
) -> Progress:
    """The progress with a further measurement, which also goes to stderr."""
    model.eval()
    how = pad, teaching.batch_tokens, teaching.autocast
    found = measure(exam, lambda rows: read_rows(model, rows, *how))
    last, losses = progress.step - 1, progress.losses
    row = {
        "step": progress.step,
        "phase": course.place(last)[0].name,
        "seconds": progress.seconds,
        "learning_rate": course.rate(last),
        "loss": sum(losses) / len(losses),
    }
    _say(f"step {progress.step}: " + ", ".join(f"{key} {x:.3f}" for key, x in found.items()))
    return Progress(progress.step, progress.seconds, [], [*progress.curve, row | found])


def _reached(progress: Progress, course: Course, until: Mapping[Any, float]) -> bool:
    """Whether the last measurement is one of the last part and reaches every value of `until`."""
    if not until or not progress.curve:
        return False
    last = progress.curve[-1]
    there = last["phase"] == course.parts[-1].name
    return there and all(last.get(name, -math.inf) >= least for name, least in until.items())


def _say(text: str) -> None:
    if not quiet():
        print(f"bootstrap --from: {text}", file=sys.stderr, flush=True)
