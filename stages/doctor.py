"""doctor: what a killed `dvc` leaves broken in a project and how to mend it, and what is wrong with
the installation; no stage of dvc.yaml.

in  dvc.lock, .dvc/tmp/rwlock, params.yaml, models/base, and those of stages/installation.py
"""

import json
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from rosd_core.config.load import load_params
from rosd_core.errors import RosdError
from rosd_core.project.checks import Check
from rosd_core.tables.atomic import replacing
from stages.installation import all_checks, quick_checks
from stages.paths import Paths


@dataclass(frozen=True)
class Finding:
    """What is wrong; `mend` puts it right and says what it did, where that loses nothing."""

    told: str
    mend: Callable[[], str] | None = None


def examine(params_file: Path) -> list[Finding]:
    """Everything that is wrong with the project of this params file, as far as that is found in a
    moment.
    """
    root = params_file.resolve().parent
    return [*_lock_file(root), *_rwlock(root), *_project(params_file, root)]


def examine_installation(params_file: Path, thorough: bool) -> list[Check]:
    """The checks of packages and disk; `thorough`: all of them, which takes seconds. Without
    params that can be read, those that need none.
    """
    root = params_file.resolve().parent
    try:
        params = load_params(params_file)
    except RosdError:  # which `examine` reports
        return quick_checks(None, root)
    if not thorough:
        return quick_checks(params, root)
    return list(all_checks(params, Paths(root)))


def _lock_file(root: Path) -> Iterator[Finding]:
    """DVC writes dvc.lock in place: a kill at that moment leaves it empty or cut off."""
    file = root / "dvc.lock"
    if file.is_file() and not is_lock_file(file.read_bytes()):
        told = f"{file}: empty or cut off, so that DVC refuses to run"
        yield Finding(told, lambda: _restore_lock_file(file))


def is_lock_file(data: bytes) -> bool:
    """Whether these are the bytes of a whole dvc.lock."""
    try:
        found = YAML(typ="safe").load(data.decode("utf-8"))
    except (UnicodeDecodeError, YAMLError):
        return False
    return isinstance(found, dict) and "schema" in found and isinstance(found.get("stages"), dict)


def _restore_lock_file(file: Path) -> str:
    """The version of git's last commit, else none. Either way DVC finds what later stages wrote in
    its run cache, and runs no stage again that it has there.
    """
    command = ["git", "-C", str(file.parent), "show", f"HEAD:./{file.name}"]
    try:
        committed = subprocess.run(command, capture_output=True, check=False).stdout
    except FileNotFoundError:  # no git
        committed = b""
    if is_lock_file(committed):
        with replacing(file) as temporary:
            temporary.write_bytes(committed)
        return "restored from the last commit; `dvc repro` takes finished stages from its cache."
    file.unlink()
    return "deleted; `dvc repro` takes finished stages from its cache."


def _rwlock(root: Path) -> Iterator[Finding]:
    """DVC's list of running commands, which it writes in place, too."""
    file = root / ".dvc" / "tmp" / "rwlock"
    if not file.is_file():
        return
    try:
        json.loads(file.read_text(encoding="utf-8"))
    except ValueError:  # not JSON, or not UTF-8

        def mend() -> str:
            file.unlink()
            return "deleted; DVC writes it anew."

        told = f"{file}: empty or cut off, so that DVC refuses to run"
        yield Finding(f"{told} (let no other dvc command run in this project)", mend)


def _project(params_file: Path, root: Path) -> Iterator[Finding]:
    try:
        load_params(params_file)
        Paths(root).model_folder("base")
    except RosdError as error:
        yield Finding(str(error))
