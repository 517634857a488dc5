"""What to change where a stage does not fit, or leaves GPUs idle."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from rosd_core.config.params import Params
from rosd_core.plan.case import Case
from rosd_core.plan.hardware import GIB
from rosd_core.plan.layout import training_of
from rosd_core.plan.lines import SAMPLING, Line
from rosd_core.plan.memory import stage_memory

ADAPTER = {"rank": 16, "alpha": 32, "dropout": 0.0, "modules": "all-linear", "merge": False}
SMALLER = (2, 4, 8, 16)  # parts of batch_tokens, and GPUs, that are tried


def advice_on(case: Case, lines: Sequence[Line]) -> list[str]:
    """A sentence for each thing that is wrong with the lines of a plan."""
    told = list(_idle(case, lines))
    for line in lines:
        if not line.fits:
            told += [_too_large(line), *_lower(case, line)]
    return told


def _idle(case: Case, lines: Sequence[Line]) -> Iterator[str]:
    """Stages that use too few or too many GPUs."""
    there = case.hardware.gpus
    if case.hardware.device != "cuda":
        return
    used: dict[int, list[str]] = {}
    for line in lines:
        if line.stage not in ("align", "distill"):
            used.setdefault(line.processes * line.gpus, []).append(line.stage)
    for count, stages in used.items():
        if count != there:
            change = "lower" if count > there else "raise"
            yield f"{', '.join(stages)}: use {count} of {there} GPUs; {change} engine.workers."


def _too_large(line: Line) -> str:
    """What a stage that does not fit needs most of its memory for."""
    largest = sorted(line.memory.parts.items(), key=lambda part: -part[1])[:4]
    parts = ", ".join(f"{name} {size / GIB:.1f}" for name, size in largest)
    total = f"{line.memory.total / GIB:.1f} GiB, there are {line.room / GIB:.1f}"
    return f"{line.stage} will not fit: it takes {total} ({parts})."


def _lower(case: Case, line: Line) -> Iterator[str]:
    """What would make it fit, each with the memory that it then takes."""
    stage, key = line.stage, line.memory.lower
    if key.endswith("batch_tokens"):
        now = getattr(case.params, stage).batch_tokens
        for part in SMALLER:
            size = _size(
                case, _changed(case.params, stage, batch_tokens=max(1, now // part)), stage
            )
            if size <= line.room:
                yield f"  {stage}.batch_tokens: {now // part} (now {now}): {_gib(size)}."
                return
    if stage in SAMPLING:
        if getattr(case.params, stage).engine == "transformers":
            yield f"  Its weights are in fp32: {stage}.engine: vllm holds them in bf16."
        elif key:
            yield f"  {key}"
    if stage == "score":
        for name, value in (("autocast", "none"), ("teacher", "current")):
            size = _size(case, _changed(case.params, stage, **{name: value}), stage)
            if size <= line.room:
                yield f"  score.{name}: {value}: {_gib(size)}."
    if stage == "distill":
        yield from _smaller_training(case, line)


def _smaller_training(case: Case, line: Line) -> Iterator[str]:
    """An adapter, on weights in 4 bits if need be, or a share of weights and state on more GPUs."""
    if not case.params.distill.quantized:
        for quantize in ("none", "nf4"):
            lora = ADAPTER | {"quantize": quantize}
            small = _changed(case.params, "distill", lora=lora, sharding="none", offload=False)
            adapter = replace(case, training=training_of(small.distill, case.shape, 1))
            size = _size(adapter, small, "distill")
            if size <= line.room:
                named = "" if quantize == "none" else f", quantize {quantize}"
                yield f"  distill.lora, rank {ADAPTER['rank']}{named}: {_gib(size)}."
                break
    if case.hardware.device == "cuda":
        now = case.params.distill.batch_tokens
        more = (n for n in SMALLER if n > case.training.shards)
        for count, part in ((n, p) for n in more for p in (1, *SMALLER)):
            shared = replace(case, training=replace(case.training, shards=count))
            tokens = max(1, now // part)
            size = _size(shared, _changed(case.params, "distill", batch_tokens=tokens), "distill")
            if size <= line.room:
                lower = "" if part == 1 else f", distill.batch_tokens: {tokens}"
                yield f"  sharded over {count} GPUs (FSDP){lower}: {_gib(size)} on each."
                return


def _changed(params: Params, section: str, **values: object) -> Params:
    """Other params: some keys of a section."""
    return params.model_copy(
        update={section: type(getattr(params, section)).model_validate(
            getattr(params, section).model_dump() | values
        )}
    )  # fmt: skip


def _size(case: Case, params: Params, stage: str) -> float:
    return stage_memory(replace(case, params=params), False)[stage].total


def _gib(size: float) -> str:
    return f"{size / GIB:.1f} GiB"
