"""Atomic writing: everything is written under a temporary name, flushed to the disk and renamed.

A temporary name belongs to one process: `.i1.4711-3f9c2a01.tmp`. A folder cannot be renamed onto
another, so the old one is set aside (`.i1.4711-3f9c2a01.old.tmp`) until the new one stands. What
killed processes leave, `recover` mends.
"""

import glob
import json
import math
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rosd_core.tables.origin import Origin

OLD = ".old.tmp"  # how the name of a folder ends that is set aside


class Publication:
    """Outputs that are written, but do not stand under their names yet: path -> temporary name.
    Tables among them are given their origin.
    """

    def __init__(self, origin: "Origin | None" = None) -> None:
        self.origin = origin
        self.written: dict[Path, Path] = {}

    def discard(self) -> None:
        """Delete what was written."""
        for temporary in self.written.values():
            remove(temporary)


def _temporary(path: Path, end: str = ".tmp") -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}{end}")


def _leftovers(path: Path) -> list[Path]:
    return sorted(path.parent.glob(f".{glob.escape(path.name)}.*.tmp"))


def remove(path: Path) -> None:
    """Delete a file, a link or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    """Have the disk write a file, or the entries of a folder, before anything relies on them."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError:
        if not path.is_dir():  # some file systems cannot flush a folder
            raise
    finally:
        os.close(descriptor)


def put(temporary: Path, path: Path) -> None:
    """Give what is written its name; what stands there is replaced."""
    aside = None
    if path.is_dir():
        aside = _temporary(path, OLD)
        path.rename(aside)
    temporary.replace(path)
    _flush(path.parent)
    if aside is not None:
        remove(aside)


def recover(path: Path) -> None:
    """Mend what killed processes left of an output: a folder that was set aside comes back where
    nothing stands in its place, and other leftovers are deleted. No other process may be writing.
    """
    for leftover in _leftovers(path):
        if leftover.name.endswith(OLD) and not path.exists():
            leftover.rename(path)
        else:
            remove(leftover)


@contextmanager
def _written(temporary: Path, path: Path, together: Publication | None) -> Iterator[Path]:
    try:
        yield temporary
        for part in (*temporary.rglob("*"), temporary):
            _flush(part)
        if together is None:
            put(temporary, path)
    except BaseException:
        remove(temporary)
        raise
    if together is not None:
        together.written[path] = temporary


@contextmanager
def replacing(path: Path, together: Publication | None = None) -> Iterator[Path]:
    """Yield a temporary path beside `path`. On success it is renamed to `path`, now or with all of
    `together`; on failure it is deleted.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with _written(_temporary(path), path, together) as temporary:
        yield temporary


@contextmanager
def replacing_folder(path: Path, together: Publication | None = None) -> Iterator[Path]:
    """As `replacing`, for a folder: yields an empty one."""
    temporary = _temporary(path)
    temporary.mkdir(parents=True)
    with _written(temporary, path, together):
        yield temporary


def write_json(path: Path, data: Any, together: Publication | None = None) -> None:
    """Write JSON atomically. A float that is infinite or not a number, which JSON lacks, becomes
    null.
    """
    text = json.dumps(_finite(data), indent=2, allow_nan=False)
    with replacing(path, together) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def _finite(data: Any) -> Any:
    if isinstance(data, Mapping):
        return {key: _finite(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_finite(value) for value in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data
