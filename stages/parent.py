"""The parent of the stages of one `rosd repro`: a process that has imported what they import, and
forks a child for each. When it forks it has run no model, and started no thread or OpenMP pool.

A child takes over its launcher's arguments, folder, environment, standard streams, umask and
signals, and goes on as the launcher would have. Between the two stands a guard, one for each child.
All of them end with the process above them, and the parent with `rosd repro`, however these end:
the kernel sees to it (PR_SET_PDEATHSIG, Linux only).
"""

import atexit
import ctypes
import gc
import json
import os
import secrets
import select
import signal
import socket
import sys
import threading
import warnings
import weakref
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from stages.handover import (
    FORWARDED,
    LENGTH,
    STATUS,
    TAKEN,
    address,
    identity,
    own_environment,
    peer,
    received,
)
from stages.launch import PARENT, STAGES

PR_SET_PDEATHSIG = 1


def start() -> bool:
    """Fork the parent, and name its socket in the environment. Returns in this process, and in
    every child that becomes a stage: whether this is one.
    """
    os.environ.pop(PARENT, None)
    if sys.platform != "linux" or None in (sys.stdin, sys.stdout, sys.stderr):
        return False
    name, here = f"rosd-{secrets.token_hex(16)}", os.getpid()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address(name))
        listener.listen()
        if os.fork():
            os.environ[PARENT] = name
            return False
        die_with(here)
        os.setsid()  # Ctrl-C is for the launchers
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        try:
            ours = identity()
            gc.disable()  # imports leave little to collect; a child turns it on again
            if not prepared(Path("params.yaml")):
                os._exit(0)
            serve(listener, ours)
            return True
        except BaseException as error:  # its stages run in their launchers then
            sys.excepthook(type(error), error, error.__traceback__)
            os._exit(1)


def die_with(parent: int) -> None:
    """Have the kernel kill this process when the one that forked it ends."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL))
    if os.getppid() != parent:
        os._exit(1)


def prepared(file: Path) -> bool:
    """Import what stages import, and read once what does not change. Says whether stages can run in
    children: not where params are wrong, which the stage then says.
    """
    from typer.main import get_command

    from rosd_core.config.load import load_params
    from rosd_core.errors import RosdError
    from stages.paths import Paths

    try:
        if not load_params(file).forks:
            return False
        for name in STAGES:
            import_module(f"stages.{name}")
        get_command(import_module("stages.cli").app)  # imports more than its module does
        import_libraries(Paths(file.resolve().parent).model_folder("base"))
    except RosdError:
        return False
    skip_clean_up()
    gc.freeze()  # no collector of a child touches these objects: their memory stays shared
    return True


def skip_clean_up() -> None:
    """Have children not undo at their end what torch did when it was imported (an operator's
    registration, a log of compile times that is empty): 50 ms each.
    """
    from torch._dynamo.utils import dump_compile_times

    atexit.unregister(dump_compile_times)
    for finalizer in list(weakref.finalize._registry):  # pyright: ignore[reportAttributeAccessIssue]
        finalizer.atexit = False


def import_libraries(folder: Path) -> None:
    """What stages import only when they need it, for the model in a folder."""
    import pyarrow as pa
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING
    from transformers.conversion_mapping import get_checkpoint_conversion_mapping

    import_module("rosd_core.sampling.transformers_engine")
    from rosd_core.models.loading import load_config, load_tokenizer

    import_module("pyarrow.dataset")
    pa.array([0])  # imports pandas, where that is installed
    config = load_config(folder)
    MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]
    get_checkpoint_conversion_mapping(config.model_type)
    load_tokenizer(folder)


def serve(listener: socket.socket, ours: dict[str, Any]) -> None:
    """Fork a guard for each launcher, until this process is killed. Returns in each child."""
    parent = os.getpid()
    while True:
        launcher, _ = listener.accept()
        if fork():
            launcher.close()
            with suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:  # guards that have ended
                    pass
            continue
        die_with(parent)
        return guard(launcher, ours)


def fork() -> int:
    """As os.fork. Libraries keep idle threads of their own (jemalloc's, polars'), of which Python
    warns; a child does not miss them.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def guard(launcher: socket.socket, ours: dict[str, Any]) -> None:
    """Fork the child of a launcher that fits, and see to it that either ends with the other.
    Returns in the child.
    """
    size, streams, _, _ = socket.recv_fds(launcher, LENGTH.size, 3)
    whole = len(size) == LENGTH.size and peer(launcher) == os.getuid()
    told = received(launcher, *LENGTH.unpack(size)) if whole else b""
    if not told.endswith(b"}") or (asked := json.loads(told))["identity"] != ours:
        os._exit(0)
    launcher.sendall(TAKEN)
    here = os.getpid()
    if pid := fork():
        watch(launcher, pid)
    die_with(here)
    launcher.detach()  # open until this process ends: the launcher notices
    before = ours["environment"]
    imported = {
        name: value for name, value in own_environment().items() if before.get(name) != value
    }
    become(asked, streams, imported)


def watch(launcher: socket.socket, pid: int) -> None:
    """Pass on what a launcher sends to its child, and the child's status to the launcher."""
    ended = os.pidfd_open(pid)
    while True:
        ready, _, _ = select.select([launcher, ended], [], [])
        if ended in ready:
            with suppress(OSError):
                launcher.sendall(STATUS.pack(os.waitpid(pid, 0)[1]))
            os._exit(0)
        for number in (numbers := received(launcher, 1)):
            os.kill(pid, number)
        if not numbers:  # the launcher has gone
            os.kill(pid, signal.SIGKILL)
            os._exit(0)


def become(asked: dict[str, Any], streams: list[int], imported: dict[str, str]) -> None:
    """Make of this process what its launcher is. `imported`: variables that libraries set."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    sys.stdout.reconfigure(line_buffering=os.isatty(1))  # pyright: ignore[reportAttributeAccessIssue]
    os.chdir(asked["cwd"])
    os.umask(asked["umask"])
    os.environ.clear()
    os.environ.update(asked["environment"] | imported)
    del os.environ[PARENT]
    sys.argv, sys.path[:] = asked["argv"], asked["path"]
    for number in FORWARDED:
        default = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
        signal.signal(number, signal.SIG_IGN if number in asked["ignored"] else default)
    signal.pthread_sigmask(signal.SIG_SETMASK, asked["blocked"])
    import numpy.random
    import torch

    gc.enable()
    numpy.random.seed()  # these two are seeded by the system when imported, and miss a fork
    torch.default_generator.seed()


def run_and_leave(command: Callable[[], object]) -> None:
    """Run a command in a child and end with its exit code, after the functions of atexit. Python's
    own way also takes its objects down one by one: 0.4 s, and copies of pages that the parent has.
    """
    try:
        command()
    except SystemExit as ended:
        if ended.code is not None and not isinstance(ended.code, int):
            raise
        threading._shutdown()  # pyright: ignore[reportAttributeAccessIssue]
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit((ended.code or 0) & 0xFF)
