"""A base model of the user's: models/base holds a pointer to it instead of a copy."""

import json
from pathlib import Path

from rosd_core.errors import RosdError
from rosd_core.tables.hashing import fingerprint

POINTER_FILE = "pointer.json"


def _weights_bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.glob("model*.safetensors"))


def _folder_of(model: str, revision: str | None, source: str) -> tuple[Path, str | None]:
    """The local folder of a path or of a hub repository (fetched once), and the exact revision."""
    if Path(model).is_dir():
        return Path(model).resolve(), None
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    wanted = ["*.json", "*.jinja", "*.safetensors", "*.txt", "*.model"]
    try:
        folder = Path(snapshot_download(model, revision=revision, allow_patterns=wanted))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise RosdError(
            f"{source}{model!r} is neither a folder here nor a model on the hub: "
            f"{str(error).splitlines()[0]}"
        ) from None
    return folder, folder.name


def make_pointer(model: str, revision: str | None) -> dict[str, str | int | None]:
    """The content of pointer.json for a folder or a hub repository: its location and exact
    revision, the fingerprint and the bytes of its weights. Raises RosdError where it cannot be
    used.
    """
    folder, exact = _folder_of(model, revision, "")
    for name in ("config.json", "tokenizer.json"):
        if not (folder / name).is_file():
            raise RosdError(f"{folder}: {name} is missing; a model of transformers is needed.")
    size = _weights_bytes(folder)
    if not size:
        raise RosdError(f"{folder}: no model*.safetensors; convert the weights to safetensors.")
    place = str(folder) if exact is None else model
    return {
        "model": place,
        "revision": exact,
        "fingerprint": fingerprint(folder),
        "bytes": size,
    }


def resolve(folder: Path) -> Path:
    """The folder that holds the weights: `folder`, or what its pointer.json names.

    Raises RosdError where that folder is gone or its weights have another size.
    """
    file = folder / POINTER_FILE
    if not file.is_file():
        return folder
    pointer = json.loads(file.read_text(encoding="utf-8"))
    there, _ = _folder_of(pointer["model"], pointer["revision"], f"{file}: ")
    size = _weights_bytes(there)
    if size != pointer["bytes"]:
        raise RosdError(
            f"{file}: the weights in {there} have {size} bytes, not {pointer['bytes']}; "
            "`rosd base` takes the model that is there now."
        )
    return there
