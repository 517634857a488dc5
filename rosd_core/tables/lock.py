"""One writer: a run of a stage holds a lock as long as its process lives, however that ends.

The lock is an `flock` on `.rosd/locks/<run>.lock`, which the kernel releases with the process. The
file says who holds it, and stays.
"""

import errno
import fcntl
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from rosd_core.errors import RosdError
from rosd_core.tables.atomic import recover
from rosd_core.tables.publish import finish, journal_file

# what file systems without locks answer
NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)


def lock_file(root: Path, run: str) -> Path:
    """The lock of a run, such as `distill-i1`, in the project at `root`."""
    return root / ".rosd" / "locks" / f"{run}.lock"


@contextmanager
def one_writer(root: Path, run: str, outputs: Sequence[Path]) -> Iterator[None]:
    """Hold the lock of a run; first mend what killed runs left, of its outputs and of publications.
    Raises RosdError, which says who holds it, where another process does.
    """
    file = lock_file(root, run)
    with _opened(file) as opened:
        if not _locked(opened):
            raise RosdError(
                f"{file}: {run} is being run by another process ({opened.read().strip()}). Wait "
                "for it, or end it; two runs would write the same files."
            )
        opened.truncate(0)
        opened.write(f"pid {os.getpid()} on {os.uname().nodename}\n")
        opened.flush()
        finish(root, run)
        _finish_others(root)
        for path in (journal_file(root, run), *outputs):
            recover(path)
        yield


def is_held(root: Path, run: str) -> bool:
    """Whether a process, this one included, holds the lock of a run."""
    file = lock_file(root, run)
    if not file.is_file():
        return False
    with _opened(file) as opened:
        return not _locked(opened)


def _opened(file: Path) -> IO[str]:
    file.parent.mkdir(parents=True, exist_ok=True)
    return file.open("a+", encoding="utf-8")


def _locked(opened: IO[str]) -> bool:
    """Take the lock, unless another process has it. The file's text is that one's name then."""
    opened.seek(0)
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        print(
            f"{opened.name}: this file system has no locks ({error.strerror}): take care yourself "
            "that no two runs write the same outputs.",
            file=sys.stderr,
        )
    return True


def _finish_others(root: Path) -> None:
    """Carry out the renames of other runs that were killed between them."""
    for journal in sorted(journal_file(root, "any").parent.glob("*.json")):
        with _opened(lock_file(root, journal.stem)) as opened:
            if _locked(opened):
                finish(root, journal.stem)
