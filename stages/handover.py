"""The launcher's side of a stage that runs in a child of the parent process (stages/parent.py):
what it hands over, and how it passes signals on and ends as the child does.

The two speak over a UNIX stream socket. The launcher sends the length of its request, the request
as JSON and its stdin, stdout and stderr. The parent answers with TAKEN, and at the end with the
child's wait status in four bytes; or it closes the connection: then the stage runs here. Each byte
that the launcher sends later is the number of a signal for the child. A launcher that is killed
closes the connection, and its child is killed, too. The child holds the parent's end open as well,
so that a connection that closes early means: both are dead, and nothing is written any more.
"""

import json
import os
import resource
import signal
import socket
import struct
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

TAKEN = b"\x01"
LENGTH, STATUS = struct.Struct("!Q"), struct.Struct("!i")
PEER = struct.Struct("3i")  # SO_PEERCRED: pid, uid, gid
FREE = {"PATH", "PWD", "OLDPWD", "SHLVL", "_"}  # variables that no library reads when imported
FREE_PREFIXES = ("DVC_", "ROSD_")
FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1,
             signal.SIGUSR2)  # fmt: skip
KILLED = 128 + signal.SIGKILL


def identity() -> dict[str, Any]:
    """What a launcher has to have in common with the parent, as JSON has it: the code, the
    interpreter and all that it or a library looks at when it starts.
    """
    limits = (name for name in dir(resource) if name.startswith("RLIMIT_"))
    told = {
        "code": str(Path(__file__).resolve().parent),
        "python": [sys.executable, sys.prefix, sys.version, list(sys.flags)],
        "options": [sorted(sys._xoptions.items()), sys.warnoptions],
        "environment": own_environment(),
        "limits": {name: resource.getrlimit(getattr(resource, name)) for name in sorted(limits)},
        "user": [os.getuid(), os.geteuid(), os.getgid(), os.getegid(), sorted(os.getgroups())],
    }
    return json.loads(json.dumps(told))


def own_environment() -> dict[str, str]:
    """The variables that libraries look at when they are imported, or might."""
    named = sorted(os.environ.items())
    return {k: v for k, v in named if k not in FREE and not k.startswith(FREE_PREFIXES)}


def request() -> dict[str, Any]:
    """What a child needs beside the identity to go on as this process."""
    umask = os.umask(0)
    os.umask(umask)
    return {
        "identity": identity(),
        "argv": sys.argv,
        "path": sys.path,
        "cwd": str(Path.cwd()),
        "environment": dict(os.environ),
        "umask": umask,
        "ignored": [int(n) for n in FORWARDED if signal.getsignal(n) is signal.SIG_IGN],
        "blocked": [int(n) for n in signal.pthread_sigmask(signal.SIG_BLOCK, [])],
    }


def hand_over(name: str) -> None:
    """Let a child of the parent do this process's work and end as it does. Returns where there is
    no parent, or where it does not take the stage.
    """
    if "WORLD_SIZE" in os.environ or None in (sys.stdin, sys.stdout, sys.stderr):
        return  # torchrun's processes find each other by their own ids
    told, on_interrupt = json.dumps(request()).encode(), signal.getsignal(signal.SIGINT)
    if on_interrupt is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # until there is a child to tell
    with socket.socket(socket.AF_UNIX) as parent:
        if _taken(parent, name, told):
            _forward_signals(parent)
            _end(received(parent, STATUS.size))
    signal.signal(signal.SIGINT, on_interrupt)


def _taken(parent: socket.socket, name: str, told: bytes) -> bool:
    try:
        parent.connect(address(name))
        if peer(parent) != os.getuid():
            return False
        socket.send_fds(parent, [LENGTH.pack(len(told))], [0, 1, 2])
        parent.sendall(told)
    except OSError:
        return False
    return received(parent, len(TAKEN)) == TAKEN


def address(name: str) -> str:
    """A name in Linux's abstract namespace: no file is left behind."""
    return f"\0{name}"


def peer(connection: socket.socket) -> int:
    """The user at the other end."""
    told = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, PEER.size)
    return PEER.unpack(told)[1]


def received(connection: socket.socket, size: int) -> bytes:
    """So many bytes; fewer where the connection ends first."""
    found = b""
    with suppress(ConnectionError):
        while len(found) < size and (more := connection.recv(size - len(found))):
            found += more
    return found


def _forward_signals(parent: socket.socket) -> None:
    """What this process is sent, its child gets."""

    def forward(number: int, frame: object) -> None:
        with suppress(OSError):  # the child has ended
            parent.send(bytes([number]))

    def suspend(number: int, frame: object) -> None:
        forward(signal.SIGSTOP, frame)
        os.kill(os.getpid(), signal.SIGSTOP)
        forward(signal.SIGCONT, frame)

    for number in FORWARDED:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, forward)
    signal.signal(signal.SIGTSTP, suspend)


def _end(told: bytes) -> None:
    """End as the child ended: with its exit code, or by the same signal."""
    if len(told) < STATUS.size:
        print("rosd: the parent process of `rosd repro` was killed; run it again.", file=sys.stderr)
        os._exit(KILLED)
    code = os.waitstatus_to_exitcode(STATUS.unpack(told)[0])
    if code < 0:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.signal(-code, signal.SIG_DFL) if -code != signal.SIGKILL else None
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [-code])
        os.kill(os.getpid(), -code)
        code = 128 - code
    os._exit(code)
