"""A connection to Ray: an instance for one stage, or a cluster that is running already."""

import logging
import os
import secrets
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rosd_core.errors import RosdError
from rosd_core.workers.pool import Workers

ROOT = Path(__file__).resolve().parents[2]  # what workers import the code from
PROBE = 5.0  # seconds in which a cluster's port must answer
# Ray reads these when it is imported.
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS_SKIP_REGEX": "A worker died or was killed",  # the pool says so in one line
    "RAY_IGNORE_UNHANDLED_ERRORS": "1",  # of the other workers, after the first error
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # would upload the folder where uv runs the stage
}
PRIVATE = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # only loopback; else it listens on every interface
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": secrets.token_hex(32),  # else it writes one to ~/.ray
    "RAY_worker_niceness": "0",  # else 15: beside other work the workers would hardly run
}
IMPATIENT = {  # else it takes a quarter of an hour to see that a port is not Ray's
    "RAY_gcs_server_port_wait_time_s": "1",
    "RAY_py_gcs_connect_timeout_s": "10",
}


@contextmanager
def cluster(workers: Workers, wanted: int) -> Iterator[int]:
    """Ray is connected in this context; gives the number of workers, at most `wanted`, that fit.

    Raises RosdError where Ray is not installed, no cluster answers or no worker fits.
    """
    if find_spec("ray") is None:
        raise RosdError(
            f"engine.workers = {workers.count} needs Ray: pip install 'rosd[ray]' "
            "(in a checkout: pip install -e '.[ray]'), or set engine.workers: 1."
        )
    local = workers.address == "local"
    set_environment(QUIET | (PRIVATE if local else IMPATIENT))
    import ray

    with ExitStack() as stack:
        if local:  # a short path: those of its sockets may have 107 characters
            folder = stack.enter_context(TemporaryDirectory(prefix="rosd-ray-", dir="/tmp"))
            where = _local(wanted * workers.threads, folder)
        else:
            where = _running(workers.address)
        stack.callback(ray.shutdown)
        with _signals_later():
            _init(workers.address, where)
        yield _fitting(workers, wanted)


def set_environment(values: dict[str, str]) -> None:
    """Set the variables that the user has not set."""
    for name, value in values.items():
        os.environ.setdefault(name, value)


def _local(cpus: int, folder: str) -> dict[str, Any]:
    return {"address": "local", "num_cpus": cpus, "include_dashboard": False, "_temp_dir": folder}


def _running(address: str) -> dict[str, Any]:
    """Raises RosdError where nothing listens there; Ray itself would try for minutes."""
    if address != "auto":
        host, _, port = address.rpartition(":")
        if not host or "/" in host or not port.isdecimal():
            raise RosdError(f"engine.address = {address!r}: it is local, auto or HOST:PORT.")
        try:
            socket.create_connection((host, int(port)), timeout=PROBE).close()
        except (OSError, OverflowError) as error:
            raise _no_cluster(address, str(error)) from None
    return {"address": address}


def _init(address: str, where: dict[str, Any]) -> None:
    """`ray.init`, with this code on the workers' path."""
    import ray

    path = os.pathsep.join(p for p in (str(ROOT), os.environ.get("PYTHONPATH")) if p)
    environment = {"env_vars": {"PYTHONPATH": path}}
    try:
        ray.init(**where, runtime_env=environment, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, RuntimeError, ValueError) as error:
        reason = next((line for line in reversed(str(error).splitlines()) if line.strip()), "")
        raise _no_cluster(address, reason.strip()) from None


def _no_cluster(address: str, reason: str) -> RosdError:
    if address == "local":
        return RosdError(f"engine.address = local: Ray did not start: {reason}")
    return RosdError(
        f"engine.address = {address}: no Ray cluster that this machine is part of answers there "
        f"({reason}). Start one with `ray start --head`, and `ray start --address HOST:PORT` on "
        "the other machines; or set engine.address: local. A cluster that wants a token needs "
        "RAY_AUTH_MODE=token in the environment."
    )


@contextmanager
def _signals_later() -> Iterator[None]:
    """Ctrl-C and SIGTERM have to wait: Ray, interrupted while it starts, leaves processes behind.
    It would also replace the handler of SIGTERM, for good.
    """
    from ray._private import utils

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    seen, numbers, original = [], (signal.SIGINT, signal.SIGTERM), utils.set_sigterm_handler
    before = {n: signal.signal(n, lambda number, _: seen.append(number)) for n in numbers}
    utils.set_sigterm_handler = lambda handler: None
    try:
        yield
    finally:
        utils.set_sigterm_handler = original
        for number, handler in before.items():
            signal.signal(number, handler)
    if seen:
        signal.alarm(0)  # Ray's core sets one at SIGTERM, which would abort this process
        raise KeyboardInterrupt


def _fitting(workers: Workers, wanted: int) -> int:
    """How many workers fit, at most `wanted`; says so where not all do."""
    room, needs = capacity(workers), _needs(workers)
    if room == 0:
        raise RosdError(
            f"engine.address = {workers.address}: no machine has the {needs} that one worker needs "
            "(machine.threads, machine.device, engine.vllm.*_parallel)."
        )
    if room < wanted:
        print(
            f"engine.workers: {room} of {wanted} workers with {needs} each fit; going on with "
            f"{room}.",
            file=sys.stderr,
        )
    return min(room, wanted)


def capacity(workers: Workers) -> int:
    """How many workers the machines of the cluster would hold if nobody else used them."""
    import ray

    room = 0
    for node in ray.nodes():
        if node["Alive"]:
            has = node["Resources"]
            fits = has.get("CPU", 0) // workers.threads
            if workers.gpus:
                fits = min(fits, has.get("GPU", 0) // workers.gpus)
            room += int(fits)
    return room


def _needs(workers: Workers) -> str:
    cpus, gpus = (
        f"{number} {unit}{'s' * (number != 1)}"
        for number, unit in ((workers.threads, "CPU"), (workers.gpus, "GPU"))
    )
    return f"{cpus} and {gpus}" if workers.gpus else cpus
