"""The student: the model that is trained, all of it or a LoRA adapter (peft), opened and saved."""

import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, cast

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from rosd_core.errors import RosdError
from rosd_core.models.loading import (
    base_of,
    import_peft,
    is_adapter,
    load_adapter,
    load_plain,
    load_weights,
    to_device,
)
from rosd_core.models.quantized import load_nf4

if TYPE_CHECKING:
    from peft import PeftModel

FILE_SIZE = "5GB"  # of safetensors; a larger model is several files with an index


def new_adapter(
    model: PreTrainedModel, base: str, rank: int, alpha: float, dropout: float, modules: str
) -> "PeftModel":
    """A new adapter on a model; `modules` is `all-linear`, or a regular expression of whole names
    of modules. `base` is the path that is written into the adapter's config. Raises RosdError where
    no module, or one that peft has no adapter for, is named so.
    """
    peft = import_peft()
    config = peft.LoraConfig(
        r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules=modules,
        task_type="CAUSAL_LM",
    )  # fmt: skip
    model.name_or_path = base
    try:
        wrapped = peft.get_peft_model(model, config)
    except (ValueError, re.error) as error:
        raise RosdError(
            f"lora.modules = {modules!r}: {str(error).splitlines()[0][:300]} It is all-linear, or "
            "a regular expression of whole names, such as '.*(q_proj|v_proj)'."
        ) from None
    wrapped.peft_config["default"].base_model_name_or_path = base
    return wrapped


@dataclass(frozen=True)
class Student:
    """The model that is trained, and the adapter around it where only that is; `quantized` says
    that the weights under the adapter are in 4 bits.
    """

    model: PreTrainedModel
    adapter: "PeftModel | None" = None
    base: Path | None = None  # of the adapter
    quantized: bool = False


def open_student(
    start: Path,
    device: str,
    lora: dict[str, Any] | None,
    root: Path,
    seed: int,
    quantized: bool = False,
) -> Student:
    """The weights of a folder, to be trained: all of them, its adapter, or a new one (initialised
    from `seed`), with the frozen weights in 4 bits or as they are. The base path in an adapter's
    config is relative to `root`.

    Raises RosdError where the adapter in `start` has another shape than `lora` asks for.
    """
    if lora is None:
        return Student(load_weights(start, device))
    load = partial(load_nf4, device=device) if quantized else load_plain
    if is_adapter(start):
        base = base_of(start)
        adapter = load_adapter(start, trainable=True, base=load(base))
        _refuse_other_shape(adapter, lora, start)
    else:
        base = start.relative_to(root) if start.is_relative_to(root) else start
        torch.manual_seed(seed)
        adapter = new_adapter(load(start), str(base), **lora)
    model = cast(PreTrainedModel, adapter.get_base_model())
    to_device(model, device)
    return Student(model, adapter, root / base, quantized)  # an absolute base stays as it is


def _refuse_other_shape(adapter: "PeftModel", lora: dict[str, Any], start: Path) -> None:
    found = adapter.peft_config["default"]
    for name, key in (("rank", "r"), ("alpha", "lora_alpha"), ("dropout", "lora_dropout")):
        if getattr(found, key) != lora[name]:
            raise RosdError(
                f"distill.lora.{name} is {lora[name]}, but the adapter in {start}, which this "
                f"iteration continues, has {getattr(found, key)}."
            )


def save_student(
    student: Student, tokenizer: PreTrainedTokenizerBase, target: Path, merge: bool
) -> PreTrainedModel:
    """Write the model, or its adapter alone; `merge` writes the adapter into whole weights. Files
    are of FILE_SIZE at most. Returns the model that has the written weights.
    """
    model = _merged(student) if merge and student.adapter is not None else student.model
    if merge or student.adapter is None:
        model.save_pretrained(target, max_shard_size=FILE_SIZE)
    else:
        student.adapter.save_pretrained(str(target))
    tokenizer.save_pretrained(target)
    return model


def _merged(student: Student) -> PreTrainedModel:
    """The model with its adapter merged; in place of weights in 4 bits, those of its base."""
    adapter = student.adapter
    assert adapter is not None and student.base is not None
    if student.quantized:
        with TemporaryDirectory() as folder:
            adapter.save_pretrained(folder, save_embedding_layers=False)
            whole = load_plain(student.base)
            adapter = load_adapter(Path(folder), trainable=False, base=whole)
    return cast(PreTrainedModel, adapter.merge_and_unload())
