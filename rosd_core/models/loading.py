"""Models and tokenizers from local folders; an adapter (LoRA, peft) is read with its base.

Weights come from safetensors alone, and code in a model's folder is never run.
"""

import gc
import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging as transformers_logging

from rosd_core.errors import RosdError
from rosd_core.models.finite import first_not_finite

if TYPE_CHECKING:
    from peft import PeftModel

transformers_logging.disable_progress_bar()  # pyright: ignore[reportPrivateImportUsage] (its public name)

SAFE: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}


@contextmanager
def readable(folder: Path, what: str) -> Iterator[None]:
    """Turn whatever a library raises for a broken or foreign file into one message; there is no
    list of what they all raise.
    """
    try:
        yield
    except (RosdError, MemoryError):
        raise
    except Exception as error:
        told = next((line for line in str(error).splitlines() if line.strip()), "")
        raise RosdError(
            f"{folder}: {what} cannot be read ({type(error).__name__}: {told[:300]}). Restore or "
            "fetch its files again; `dvc repro` makes the iterations' models again."
        ) from None


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a local folder. Raises RosdError where there is none, or no template."""
    if not (folder / "tokenizer.json").is_file():
        raise RosdError(
            f"{folder}: no model there (tokenizer.json is missing). "
            "`dvc repro` makes the iterations' models."
        )
    with readable(folder, "the tokenizer"):
        tokenizer = AutoTokenizer.from_pretrained(folder, **SAFE)
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


def load_plain(folder: Path, **how: Any) -> PreTrainedModel:
    """The model of a local folder on the CPU, fp32; `how` are more arguments of `from_pretrained`.
    Raises RosdError where weights are missing: transformers would draw them at random.
    """
    if not (folder / "config.json").is_file():
        raise RosdError(
            f"{folder}: no model there (config.json is missing). "
            "`dvc repro` makes the iterations' models."
        )
    if (folder / "generation_config.json").is_file():
        load_generation_config(folder)  # from_pretrained would pass over a broken one in silence
    with readable(folder, "the model"):
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, use_safetensors=True, output_loading_info=True, **how,
            **SAFE,
        )  # fmt: skip
        model, found = loaded
    if missing := sorted(found["missing_keys"]):
        raise RosdError(
            f"{folder}: the weights lack {len(missing)} tensors that config.json asks for, such as "
            f"{missing[0]}; fetch the model again."
        )
    refuse_not_finite(model, folder)
    return model


def refuse_not_finite(model: torch.nn.Module, folder: Path) -> None:
    """Raises RosdError where a weight of the model in a folder is infinite or not a number."""
    if bad := first_not_finite(model.named_parameters()):
        raise RosdError(
            f"{folder}: {bad} is infinite or not a number: this model is broken, and so is what is "
            "made of it. Make it again (`rosd distill` of its iteration, with a lower "
            "distill.learning_rate), or start from the iteration before."
        )


def refuse_missing_gpu(device: str) -> None:
    """Raises RosdError for a GPU where torch sees none."""
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise RosdError("machine.device = 'cuda', but torch sees no GPU. Set machine.device: cpu.")


def to_device(model: PreTrainedModel, device: str) -> PreTrainedModel:
    refuse_missing_gpu(device)
    torch.nn.Module.to(model, device)
    return model


def release_memory(device: str) -> None:
    """Give a GPU's memory that models have left back, for other processes on it."""
    if device == "cuda":
        gc.collect()
        torch.cuda.empty_cache()


def low_precision(device: str, dtype: str) -> AbstractContextManager[object]:
    """A context in which matrix products run in this dtype: `none` or `bfloat16`."""
    return nullcontext() if dtype == "none" else torch.autocast(device, getattr(torch, dtype))


def is_adapter(folder: Path) -> bool:
    return (folder / "adapter_config.json").is_file()


def import_peft() -> Any:
    try:
        import peft
    except ImportError:
        raise RosdError("LoRA needs peft: pip install -e '.[lora]'.") from None
    told = ".*is_gradient_checkpointing.* is deprecated"  # peft asks transformers for it
    warnings.filterwarnings("ignore", told, FutureWarning)
    # on some CPUs bitsandbytes, which peft imports, asks for a package that training does not use
    logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
    return peft


def base_of(folder: Path) -> Path:
    """The base model of an adapter; a relative path starts at the folder that holds `models`."""
    with readable(folder, "adapter_config.json"):
        config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
        base = Path(config["base_model_name_or_path"])
    return base if base.is_absolute() else folder.parent.parent / base


def load_adapter(folder: Path, trainable: bool, base: PreTrainedModel | None = None) -> "PeftModel":
    """The adapter of a folder on its base model on the CPU, or on the model `base`."""
    if not (folder / "adapter_model.safetensors").is_file():
        raise RosdError(
            f"{folder}: adapter_model.safetensors is missing; other files are not read."
        )
    model = load_plain(base_of(folder)) if base is None else base
    with readable(folder, "the adapter"):
        adapter = import_peft().PeftModel.from_pretrained(model, folder, is_trainable=trainable)
    refuse_not_finite(adapter, folder)
    return adapter


def context_length(config: PreTrainedConfig) -> int:
    """The most positions that a model has."""
    return int(getattr(config, "max_position_embeddings", 1 << 30))


def load_config(folder: Path) -> PreTrainedConfig:
    """config.json of a model's folder."""
    with readable(folder, "config.json"):
        return AutoConfig.from_pretrained(folder, **SAFE)


def folder_context_length(folder: Path) -> int:
    """The most positions of the model in a folder, without loading it."""
    whole = base_of(folder) if is_adapter(folder) else folder
    return context_length(load_config(whole))


def load_generation_config(folder: Path) -> GenerationConfig:
    """The generation config of the model in a folder; where it has none, what its config says."""
    whole = base_of(folder) if is_adapter(folder) else folder
    if (whole / "generation_config.json").is_file():
        with readable(whole, "generation_config.json"):
            return GenerationConfig.from_pretrained(whole, local_files_only=True)
    return GenerationConfig.from_model_config(load_config(whole))
