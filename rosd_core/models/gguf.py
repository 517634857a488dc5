"""GGUF files (llama.cpp): converted once to fp32 safetensors, which all stages read."""

import struct
from pathlib import Path

from rosd_core.errors import RosdError
from rosd_core.models.pointer import find_model
from rosd_core.tables.atomic import replacing_folder


def gguf_file(place: Path) -> Path | None:
    """The GGUF file that a path means: itself, or the only one of a folder that holds no other
    weights. None where there is none. Raises RosdError where a folder holds several.
    """
    if place.is_file() and place.suffix == ".gguf":
        return place
    if not place.is_dir() or any(place.glob("model*.safetensors")):
        return None
    files = sorted(place.glob("*.gguf"))
    if len(files) > 1:
        names = ", ".join(file.name for file in files)
        raise RosdError(f"{place}: several GGUF files ({names}); name one of them.")
    return files[0] if files else None


def find_or_convert(model: str, revision: str | None, models: Path) -> tuple[Path, str | None]:
    """As `find_model`; a GGUF file, or a folder with one, is first converted to a folder in
    `models`, once.
    """
    file = gguf_file(Path(model))
    if file is None:
        return find_model(model, revision)
    folder = models.resolve() / f"converted-{file.stem}"
    if not (folder / "config.json").is_file():
        convert_gguf(file, folder)
    return folder, None


def convert_gguf(file: Path, target: Path) -> None:
    """Write model and tokenizer of a GGUF file to the folder `target`, weights in fp32.

    Raises RosdError where the packages for it are missing, or the file cannot be read.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    _need_packages()
    where = {"pretrained_model_name_or_path": file.parent, "gguf_file": file.name}
    try:
        tokenizer = AutoTokenizer.from_pretrained(**where)
        model = AutoModelForCausalLM.from_pretrained(**where, dtype="float32")
    except (ValueError, KeyError, NotImplementedError, OSError, struct.error) as error:
        raise RosdError(
            f"{file}: transformers cannot convert it: {str(error).splitlines()[0]}"
        ) from None
    # the weights are plain numbers now; transformers would refuse to save a quantised model
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config  # pyright: ignore[reportAttributeAccessIssue]
    model.hf_quantizer, model.is_quantized = None, False  # pyright: ignore
    with replacing_folder(target) as folder:
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)


def _need_packages() -> None:
    import importlib.util

    missing = [name for name in ("gguf", "accelerate") if not importlib.util.find_spec(name)]
    if missing:
        raise RosdError(f"GGUF files need {' and '.join(missing)}: pip install -e '.[gguf]'.")
