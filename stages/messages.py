"""How a command of `rosd` ends: what its user can mend is one message and exit code 1, what nobody
expected is a short message, a log file and exit code 70, and an interruption is exit code 130.
"""

import errno
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import typer

from rosd_core.terminal import printable

UNEXPECTED = 70  # EX_SOFTWARE of sysexits.h
LOGS = Path(".rosd") / "logs"
# what commands keep of what they did before an interruption
SHARDS = "shards that are done are kept"
KEPT = dict.fromkeys(("rollout", "reflect", "score", "evaluate"), SHARDS) | {
    "distill": "the steps up to the last save are kept",
    "bootstrap --from": "the steps up to the last save are kept",
    "study": "runs that are done are kept",
}
# what the machine refuses, and what to do about it
REFUSED = {
    errno.ENOSPC: "free some space and run it again",
    errno.EDQUOT: "free some of your quota and run it again",
    errno.EROFS: "the file system is mounted read-only",
    errno.EACCES: "give yourself the permission, or work in another folder",
    errno.EPERM: "give yourself the permission, or work in another folder",
    errno.ENAMETOOLONG: "use shorter names",
    errno.ENOENT: "it is needed here; restore it",
    errno.EEXIST: "something else has that name; move it away",
    errno.EISDIR: "a folder is in the place of a file",
    errno.ENOTDIR: "a file is in the place of a folder",
    errno.EIO: "the disk reports an error",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
}
NO_MEMORY = "DefaultCPUAllocator"  # torch's, on a CPU, is a RuntimeError
# what a command can do with less memory
LOWER = {
    "distill": "lower distill.batch_tokens, or set distill.gradient_checkpointing, sharding (with "
    "torchrun), offload, optimizer or lora in params.yaml; the bytes of each are in "
    "docs/scoring-and-distillation.md"
}


@contextmanager
def messages(command: str) -> Iterator[None]:
    """Run a command; its errors end it with a message and an exit code."""
    from rosd_core.errors import RosdError

    try:
        yield
    except typer.Exit:
        raise
    except RosdError as error:
        _end(command, str(error), 1)
    except KeyboardInterrupt:
        _end(command, f"interrupted; {_left_behind(command)}", 130)
    except BrokenPipeError:  # the reader of a pipe has gone, as in `rosd schema | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left goes nowhere
        raise typer.Exit(1) from None
    except Exception as error:  # the last place that can say what happened
        if (told := _of_the_machine(error, command)) is not None:
            _end(command, told, 1)
        _end(command, _logged(command, error), UNEXPECTED)


def _end(command: str, text: str, code: int) -> None:
    typer.echo(f"rosd {command}: {printable(text)}", err=True)
    raise typer.Exit(code) from None


def _left_behind(command: str) -> str:
    """What is there after an interruption. DVC removes a stage's outputs before it starts it."""
    kept = KEPT.get(command)
    again = "`dvc repro` goes on" if "DVC_STAGE" in os.environ else "run it again to go on"
    return f"{kept}; {again}." if kept else f"it wrote nothing; {again}."


def _of_the_machine(error: BaseException, command: str) -> str | None:
    """The message of an error that the machine is the cause of: no space, no permission, no memory.
    None for all others. Libraries wrap such errors, so causes are looked at, too.
    """
    seen: BaseException | None = error
    while seen is not None:
        number = seen.errno if isinstance(seen, OSError) else None
        if number in REFUSED:
            place = getattr(seen, "filename", None) or Path.cwd()
            return f"{place}: {os.strerror(number)}: {REFUSED[number]}."
        none_left = isinstance(seen, MemoryError) or type(seen).__name__ == "OutOfMemoryError"
        if none_left or NO_MEMORY in str(seen):
            told = (str(seen).splitlines() or [""])[0][:300]
            lower = LOWER.get(command, "lower batch_tokens of this stage in params.yaml")
            return f"out of memory ({told}): {lower}."
        for code, todo in REFUSED.items():  # pyarrow and safetensors keep the number as text
            if f"os error {code})" in str(seen) or f"errno {code} " in str(seen):
                return f"{str(seen).splitlines()[0]}: {todo}."
        seen = seen.__cause__ or seen.__context__
    return None


def _logged(command: str, error: BaseException) -> str:
    """Write the traceback to a file of the project; the message that names it."""
    stamp = f"{command.replace(' ', '').replace('--', '-')}-{time.strftime('%Y%m%d-%H%M%S')}"
    name = f"{stamp}-{os.getpid()}.log"
    text = "".join(traceback.format_exception(error))
    told = f"unexpected {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    for folder in (LOGS, Path(tempfile.gettempdir())):
        if folder is LOGS and not Path("params.yaml").exists():
            continue
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text, encoding="utf-8", errors="backslashreplace")
        except OSError:
            continue
        return f"{told}\nThis is a defect of rosd, or of a library. The traceback: {folder / name}"
    return f"{told}\n{text}"
