"""Toy work on a cluster that is running already; whole stages on one that they start."""

import os
import signal
import socket
import subprocess
import sys
import time
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from threading import Thread

import psutil
import pytest

from rosd_core.errors import RosdError
from rosd_core.tables.progress import silent
from rosd_core.tables.scratch import clean
from rosd_core.workers import ray_cluster
from rosd_core.workers.pool import Workers, results
from tests.support import ROOT, SMALL, run_stage, write_params
from tests.workers import toy_work

pytestmark = [
    pytest.mark.stage,
    pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed"),
]
SHARDS = [[i, i + 1] for i in range(0, 24, 2)]
SQUARES = [[i**2, (i + 1) ** 2] for i in range(0, 24, 2)]


def children(name: str, of: int | None = None) -> list[psutil.Process]:
    """Processes that were started here, or by another one, and whose command line holds `name`."""
    found = []
    for process in psutil.Process(of).children(recursive=True):
        try:
            if any(name in part for part in process.cmdline()):
                found.append(process)
        except psutil.Error:
            continue
    return found


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """Of a cluster on this machine with 4 CPUs."""
    ray_cluster.set_environment(ray_cluster.PRIVATE)  # Ray reads it once, when it is imported
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder = f"/tmp/rosd-test-{os.getpid()}"  # a short one: sockets are in it
    command = (
        f"start --head --block --port={port} --num-cpus=4 --node-ip-address=127.0.0.1 "
        f"--include-dashboard=false --disable-usage-stats --temp-dir={folder}"
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "ray.scripts.scripts", *command.split()],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=tmp_path_factory.mktemp("elsewhere"),
    )
    assert process.stdout is not None
    for line in process.stdout:
        if "Ray runtime started" in line:
            break
    yield f"127.0.0.1:{port}"
    assert process.poll() is None, "a stage has stopped the cluster"
    process.terminate()
    process.wait(30)
    subprocess.run(["rm", "-rf", folder], check=True)


def run(opened, address: str, count: int = 2, threads: int = 1, shards=SHARDS):
    return list(results(opened, shards, Workers(count, address, threads), silent))


def test_rows_come_in_order_and_not_too_early(address, tmp_path):
    opened = partial(toy_work.square, tmp_path, 6)
    rows = results(opened, SHARDS, Workers(2, address), silent)
    assert next(rows) == SQUARES[0]
    time.sleep(1)
    # 2 workers x 2 shards ahead of the second one, which is next
    assert len(list(tmp_path.glob("shard-*"))) <= 1 + 1 + 2 * 2
    assert list(rows) == SQUARES[1:]
    assert len(list(tmp_path.glob("opened-*"))) <= 2  # once per worker


def test_there_are_no_more_workers_than_shards_or_room(address, tmp_path, capfd):
    opened = partial(toy_work.square, tmp_path, None)
    assert run(opened, address, 4, shards=SHARDS[:2]) == SQUARES[:2]
    assert len(list(tmp_path.glob("opened-*"))) <= 2
    assert "fit" not in capfd.readouterr().err
    assert run(opened, address, 3, threads=2) == SQUARES
    assert "2 of 3 workers with 2 CPUs each fit; going on with 2" in capfd.readouterr().err
    with pytest.raises(RosdError, match="no machine has the 5 CPUs that one worker needs"):
        run(opened, address, threads=5)


def test_workers_have_the_priority_of_the_stage(address):
    assert run(toy_work.niceness, address, shards=[[1, 2]]) == [[os.nice(0)] * 2]


def test_a_worker_that_dies_is_replaced(address, tmp_path, capfd):
    assert run(partial(toy_work.die, tmp_path, 9, 2), address) == SQUARES
    captured = capfd.readouterr()
    lines = [line for line in captured.err.splitlines() if "died" in line]
    assert len(lines) == 2
    for line in lines:
        assert "(pid " in line
        assert "died on shard 5/12: its process was killed or crashed" in line
    assert captured.out == ""


def test_a_shard_that_always_kills_stops_the_stage(address, tmp_path):
    with pytest.raises(RosdError, match="3 Ray workers died on shard 5/12"):
        run(partial(toy_work.die, tmp_path, 9, 99), address)
    with pytest.raises(RosdError, match="3 Ray workers died on opening the models"):
        run(toy_work.die_while_opening, address)


def test_errors_of_workers_arrive(address, capfd):
    with pytest.raises(RosdError) as caught:
        run(toy_work.failing, address)
    assert type(caught.value) is RosdError
    assert str(caught.value) == "data/x.parquet: row 3 is bad."
    assert capfd.readouterr().err == ""
    with pytest.raises(ZeroDivisionError, match=r"(?s)toy_work\.py.*a bug"):
        run(toy_work.buggy, address)


def test_a_folder_that_workers_do_not_see(address, tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "cwd", lambda: tmp_path / "gone")
    with pytest.raises(RosdError, match="need the project under the same path"):
        run(toy_work.failing, address)


@pytest.mark.parametrize(
    ("address", "part"),
    [
        ("127.0.0.1:1", "no Ray cluster .*refused.*ray start --head"),
        ("ray://127.0.0.1:10001", "local, auto or HOST:PORT"),
        ("127.0.0.1", "local, auto or HOST:PORT"),
    ],
)
def test_an_address_without_cluster(address, part):
    with pytest.raises(RosdError, match=part):
        run(toy_work.failing, address)


def test_ray_is_an_extra(monkeypatch):
    monkeypatch.setattr(ray_cluster, "find_spec", lambda name: None)
    with pytest.raises(RosdError, match=r"engine.workers = 2 needs Ray: pip install 'rosd\[ray\]'"):
        run(toy_work.failing, "local")


SHORT = SMALL | {
    "rollout": SMALL["rollout"] | {"shard_problems": 1},
    "reflect": {"shard_rows": 6},
    "score": {"shard_rows": 5},
    "evaluate": SMALL["evaluate"] | {"shard_rows": 8},
}
RUN = ("prepare", "rollout i1", "reflect i1", "align i1", "score i1", "distill i1", "evaluate i1")


def written(project: Path) -> dict[str, bytes]:
    """Every table and metric, byte by byte."""
    tables = [f for f in project.rglob("*.parquet") if ".rosd" not in f.parts]
    files = [*tables, *project.glob("metrics/*.json")]
    return {str(file.relative_to(project)): file.read_bytes() for file in files}


def test_stages_do_not_depend_on_workers(project, address, capfd):
    handler, running = signal.getsignal(signal.SIGTERM), children("ray")
    write_params(project, SHORT)
    for stage in RUN:
        run_stage(project, *stage.split())
    alone = written(project)
    assert len(alone) == 6 + 7

    clean(project)  # else the shards of one worker are taken
    write_params(project, SHORT | {"engine": {"workers": 2}})
    killer = Thread(target=kill_a_worker, args=(running,))
    killer.start()
    run_stage(project, "rollout", "i1")
    killer.join()
    assert "died on shard" in capfd.readouterr().err
    assert children("ray") == running
    assert list(Path("/tmp").glob("rosd-ray-*")) == []

    write_params(project, SHORT | {"engine": {"workers": 2, "address": address}})
    for stage in RUN[2:]:
        run_stage(project, *stage.split())
    assert written(project) == alone
    assert signal.getsignal(signal.SIGTERM) is handler


def kill_a_worker(others: list[psutil.Process]) -> None:
    """Kill a worker in the middle of a shard."""
    for _ in range(3000):
        working = [p for p in children("ray::_Worker.rows") if p not in others]
        if working:
            working[0].kill()
            return
        time.sleep(0.01)


def is_of_ray(process: psutil.Process) -> bool:
    command = " ".join(process.info["cmdline"] or [])
    return any(part in command for part in ("ray::", "raylet", "gcs_server"))


@pytest.mark.parametrize(
    ("number", "when"),
    [
        pytest.param(signal.SIGTERM, "raylet", marks=pytest.mark.slow),
        (signal.SIGINT, "ray::_Worker"),
    ],
)
def test_an_interrupted_stage_leaves_nothing_of_ray(project, number, when):
    write_params(project, SHORT | {"engine": {"workers": 2}})
    run_stage(project, "prepare")
    before = [p for p in psutil.process_iter(["cmdline"]) if is_of_ray(p)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    stage = subprocess.Popen(
        [sys.executable, "-m", "stages.rollout", "i1"],
        cwd=project, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    for _ in range(3000):
        if children(when, stage.pid):
            break
        time.sleep(0.01)
    os.killpg(stage.pid, number) if number == signal.SIGINT else stage.send_signal(number)
    _, errors = stage.communicate(timeout=30)
    assert stage.returncode == 130
    assert errors.endswith(
        "rosd rollout: interrupted; shards that are done are kept; run it again to go on.\n"
    )
    assert not list(Path("/tmp").glob("rosd-ray-*"))
    still = [p for p in psutil.process_iter(["cmdline"]) if is_of_ray(p)]
    assert psutil.wait_procs([p for p in still if p not in before], timeout=5)[1] == []
