"""Models and tokenizers from local folders, and LoRA adapters on them (peft)."""

import json
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging as transformers_logging

from rosd_core.errors import RosdError

if TYPE_CHECKING:
    from peft import PeftModel

transformers_logging.disable_progress_bar()  # pyright: ignore[reportPrivateImportUsage] (its public name)


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a local folder. Raises RosdError where there is none, or no template."""
    if not (folder / "tokenizer.json").is_file():
        raise RosdError(
            f"{folder}: no model there (tokenizer.json is missing). "
            "`dvc repro` makes the iterations' models."
        )
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    if tokenizer.chat_template is None:
        raise RosdError(
            f"{folder}: the tokenizer has no chat template; add chat_template.jinja to that folder."
        )
    return tokenizer


def load_model(folder: Path, device: str) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The model and tokenizer of a local folder, fp32; an adapter is merged into its base. Raises
    RosdError where there is none.
    """
    return load_weights(folder, device), load_tokenizer(folder)


def load_weights(folder: Path, device: str) -> PreTrainedModel:
    """The model alone."""
    if is_adapter(folder):
        model = load_adapter(folder, trainable=False).merge_and_unload()
    else:
        model = load_plain(folder)
    return to_device(model, device).eval()


def load_plain(folder: Path) -> PreTrainedModel:
    """The model of a local folder on the CPU, fp32."""
    if not (folder / "config.json").is_file():
        raise RosdError(
            f"{folder}: no model there (config.json is missing). "
            "`dvc repro` makes the iterations' models."
        )
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True)


def to_device(model: PreTrainedModel, device: str) -> PreTrainedModel:
    if device == "cuda" and not torch.cuda.is_available():
        raise RosdError("machine.device = 'cuda', but torch sees no GPU. Set machine.device: cpu.")
    torch.nn.Module.to(model, device)
    return model


def low_precision(device: str, kind: str) -> AbstractContextManager[object]:
    """Matrix products in this type within: `none`, `bfloat16`."""
    return nullcontext() if kind == "none" else torch.autocast(device, getattr(torch, kind))


def is_adapter(folder: Path) -> bool:
    return (folder / "adapter_config.json").is_file()


def _peft() -> Any:
    try:
        import peft
    except ImportError:
        raise RosdError("LoRA needs peft: pip install -e '.[lora]'.") from None
    return peft


def base_of(folder: Path) -> Path:
    """The base model of an adapter; its path counts from the folder that holds `models`."""
    config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    base = Path(config["base_model_name_or_path"])
    return base if base.is_absolute() else folder.parent.parent / base


def load_adapter(folder: Path, trainable: bool) -> "PeftModel":
    """The adapter of a folder on its base model, on the CPU."""
    base = load_plain(base_of(folder))
    return _peft().PeftModel.from_pretrained(base, folder, is_trainable=trainable)


def context_length(config: PreTrainedConfig) -> int:
    """The positions that a model has."""
    return int(getattr(config, "max_position_embeddings", 1 << 30))


def folder_context_length(folder: Path) -> int:
    """The positions of the model in a folder, without loading it."""
    whole = base_of(folder) if is_adapter(folder) else folder
    return context_length(AutoConfig.from_pretrained(whole, local_files_only=True))


def new_adapter(
    model: PreTrainedModel, base: str, rank: int, alpha: float, dropout: float, modules: str
) -> "PeftModel":
    """A fresh adapter on a model; `modules` as in peft, such as `all-linear`. `base` is the path
    that the adapter remembers.
    """
    peft = _peft()
    config = peft.LoraConfig(
        r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules=modules,
        task_type="CAUSAL_LM",
    )  # fmt: skip
    model.name_or_path = base
    wrapped = peft.get_peft_model(model, config)
    wrapped.peft_config["default"].base_model_name_or_path = base
    return wrapped


@dataclass(frozen=True)
class Student:
    """The model that is trained, and the adapter around it where only that is."""

    model: PreTrainedModel
    adapter: "PeftModel | None" = None
    base: Path | None = None  # of the adapter


def open_student(
    start: Path, device: str, lora: dict[str, Any] | None, root: Path, seed: int
) -> Student:
    """The weights of a folder, to be trained: all of them, its adapter, or a new one (drawn by
    `seed`). Paths that an adapter remembers count from `root`.
    """
    if lora is None:
        return Student(load_weights(start, device))
    if is_adapter(start):
        adapter = load_adapter(start, trainable=True)
        base = base_of(start)
        kept = adapter.peft_config["default"]
        for name, key in (("rank", "r"), ("alpha", "lora_alpha"), ("dropout", "lora_dropout")):
            if getattr(kept, key) != lora[name]:
                raise RosdError(
                    f"distill.lora.{name} is {lora[name]}, but the adapter in {start}, which this "
                    f"iteration goes on with, has {getattr(kept, key)}."
                )
    else:
        base = start.relative_to(root) if start.is_relative_to(root) else start
        torch.manual_seed(seed)
        adapter = new_adapter(load_plain(start), str(base), **lora)
    model = cast(PreTrainedModel, adapter.get_base_model())
    to_device(model, device)
    return Student(model, adapter, root / base)  # an absolute base stays as it is


def save_student(
    student: Student, tokenizer: PreTrainedTokenizerBase, target: Path, merge: bool
) -> None:
    """Write the model, or its adapter alone; `merge` writes the adapter into whole weights."""
    if student.adapter is None:
        student.model.save_pretrained(target)
    elif merge:
        student.adapter.merge_and_unload().save_pretrained(target)
    else:
        student.adapter.save_pretrained(str(target))
    tokenizer.save_pretrained(target)
