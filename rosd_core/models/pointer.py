"""The user's base model: models/base.json says where it is, models/base/contents.json what it is.

Nothing is copied, and the built-in model in models/base stays: it is the base while there is no
models/base.json. Git ignores both files. DVC stages depend on models/base, and so on contents.json:
a model with other files re-runs them, the same files at another place do not.
"""

import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from rosd_core.errors import RosdError
from rosd_core.tables.atomic import write_json
from rosd_core.tables.hashing import file_hash

CONTENTS_FILE = "contents.json"
READ = ("*model*.safetensors", "*.json", "*.jinja", "*.txt", "*.model")  # files of a base model


@dataclass(frozen=True)
class Pointer:
    """Where a base model is: a folder (revision None), or a hub repository at an exact revision;
    `stamps` are size in bytes and mtime in ns of each file when its hash was last compared.
    """

    model: str
    revision: str | None
    stamps: dict[str, tuple[int, int]]


def pointer_file(folder: Path) -> Path:
    """models/base -> models/base.json, also through a link to that folder."""
    there = folder.resolve()
    return there.with_name(f"{there.name}.json")


def _snapshot(model: str, revision: str | None) -> Path:
    """The folder of a hub repository, from the local cache where it is there."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    if revision is not None:
        with suppress(LocalEntryNotFoundError, HFValidationError):
            return Path(snapshot_download(model, revision=revision, local_files_only=True))
    return Path(snapshot_download(model, revision=revision, allow_patterns=list(READ)))


def find_model(model: str, revision: str | None) -> tuple[Path, str | None]:
    """The folder of a path or of a hub repository (fetched once), and the repository's exact
    revision. Raises RosdError where there is neither.
    """
    if Path(model).is_dir():
        return Path(model).resolve(), None
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        folder = _snapshot(model, revision)
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise RosdError(
            f"{model!r} is neither a folder here nor a model on the hub: "
            f"{str(error).splitlines()[0]}"
        ) from None
    return folder, folder.name


def check_model(folder: Path) -> None:
    """Raises RosdError where a folder holds no complete model of transformers in safetensors."""
    if (folder / "adapter_config.json").is_file():
        raise RosdError(
            f"{folder}: an adapter, not a model; `rosd merge {folder} NEW_FOLDER` makes one of it."
        )
    for name in ("config.json", "tokenizer.json"):
        if not (folder / name).is_file():
            raise RosdError(f"{folder}: {name} is missing; a model of transformers is needed.")
    if not any(folder.glob("model*.safetensors")):
        raise RosdError(f"{folder}: no model*.safetensors; convert the weights to safetensors.")
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        shards = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        missing = sorted(name for name in shards if not (folder / name).is_file())
        if missing:
            raise RosdError(
                f"{folder}: {len(missing)} of {len(shards)} files of weights are missing, such as "
                f"{missing[0]}; fetch the model again."
            )


def refuse_own_folders(folder: Path, base: Path, iterations: list[str]) -> None:
    """Raises RosdError for models that the project itself writes and replaces: `base` and the
    iterations beside it.
    """
    base = base.resolve()
    if folder.is_relative_to(base):
        raise RosdError(
            f"{folder} is the built-in model's own folder; `rosd base --pocket` goes back to it."
        )
    for key in iterations:
        if folder.is_relative_to(base.with_name(key)):
            raise RosdError(
                f"{folder} is written by iteration {key}, and `dvc repro` replaces it; copy it "
                f"first: cp -rL {folder} ANOTHER_FOLDER, then `rosd base ANOTHER_FOLDER`."
            )


def _stamps(folder: Path) -> dict[str, tuple[int, int]]:
    """Size and mtime of every file of a model that is read, by name."""
    files = sorted({file for pattern in READ for file in folder.glob(pattern)})
    stats = {file.name: file.stat() for file in files}
    return {name: (stat.st_size, stat.st_mtime_ns) for name, stat in stats.items()}


def set_base(base: Path, model: str, revision: str | None, folder: Path) -> None:
    """Make the model in `folder`, found as `model` and `revision`, the base of the project."""
    stamps = _stamps(folder)
    contents = {name: file_hash(folder / name) for name in stamps}
    place = str(folder) if revision is None else model
    write_json(base / CONTENTS_FILE, contents)
    write_json(pointer_file(base), asdict(Pointer(place, revision, stamps)))


def unset_base(base: Path) -> None:
    """Go back to the built-in model; the user's model stays where it is. Raises RosdError where the
    built-in model is not there.
    """
    if not (base / "config.json").is_file():
        raise RosdError(
            f"{base}: the built-in model is not there; `git checkout -- {base}` restores it."
        )
    pointer_file(base).unlink(missing_ok=True)
    (base / CONTENTS_FILE).unlink(missing_ok=True)


def read_pointer(base: Path) -> Pointer | None:
    """The pointer to the user's base model; None while the built-in one is the base."""
    file = pointer_file(base)
    if not file.is_file():
        return None
    found = json.loads(file.read_text(encoding="utf-8"))
    stamps = {name: (size, mtime) for name, (size, mtime) in found["stamps"].items()}
    return Pointer(found["model"], found["revision"], stamps)


def refuse_pointer(base: Path) -> None:
    """Raises RosdError while the base is a model of the user's."""
    if (pointer := read_pointer(base)) is not None:
        raise RosdError(
            f"{pointer_file(base)}: the base model is {pointer.model}; `rosd base --pocket` first "
            "goes back to the built-in one."
        )


def resolve(folder: Path) -> Path:
    """The folder that holds the weights: `folder`, or the one that its pointer names.

    Files of the same size and mtime as when they were last compared are trusted; others are hashed.
    Raises RosdError where the model is gone or has changed.
    """
    pointer = read_pointer(folder)
    if pointer is None:
        return folder
    file = pointer_file(folder)
    if pointer.revision is None and not Path(pointer.model).is_dir():
        raise RosdError(
            f"{file}: the base model's folder {pointer.model} is gone; if it has moved, run "
            "`rosd base NEW_FOLDER`; `rosd base --pocket` goes back to the built-in model."
        )
    there, _ = find_model(pointer.model, pointer.revision)
    stamps = _stamps(there)
    if stamps != pointer.stamps:
        _refuse_changes(folder, there, pointer, stamps)
        with suppress(OSError):  # a project that cannot be written hashes again
            write_json(file, asdict(Pointer(pointer.model, pointer.revision, stamps)))
    return there


def _refuse_changes(
    base: Path, there: Path, pointer: Pointer, stamps: dict[str, tuple[int, int]]
) -> None:
    """Raises RosdError naming the file of the model whose contents have changed, if one has."""
    again = f"`rosd base {pointer.model}`"
    if not (base / CONTENTS_FILE).is_file():
        raise RosdError(f"{base / CONTENTS_FILE} is missing; run {again} again.")
    known = json.loads((base / CONTENTS_FILE).read_text(encoding="utf-8"))
    for name in sorted(known.keys() | stamps.keys()):
        if name in known and stamps.get(name) == pointer.stamps.get(name):
            continue
        if name in known and name in stamps and file_hash(there / name) == known[name]:
            continue
        what = "is new" if name not in known else "has changed" if name in stamps else "is gone"
        raise RosdError(
            f"{there / name} {what} since it became the base model. Restore it, or run {again}: "
            "`dvc repro` then runs everything again with the model that is there now."
        )
