"""The real trackers: what was sent is read back from their own files."""

import json
import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rosd_core.errors import RosdError
from rosd_core.track import trackers
from rosd_core.track.points import Point
from rosd_core.track.trackers import Run, send
from tests.support import ROOT

RUN = Run(
    "demo",
    "0123456789ab",
    {"distill.alpha": 0.5, "distill.loss": "divergence"},
    [
        Point("step", 0, {"train/loss": 0.5}),
        Point("step", 1, {"train/loss": 0.25}),
        Point("iteration", 0, {"accuracy/chain": 0.5}),
        Point("iteration", 1, {"accuracy/chain": 0.75}),
    ],
)


def test_tensorboard_holds_each_point_once_even_if_it_is_sent_twice(tmp_path: Path):
    accumulators = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator",
        reason="tensorboard is not installed (extra track)",
    )

    for _ in range(2):
        where = send("tensorboard", RUN, tmp_path)
    assert where == f"tensorboard --logdir {tmp_path / 'tensorboard'}"
    events = accumulators.EventAccumulator(str(tmp_path / "tensorboard" / "demo" / RUN.id))
    events.Reload()
    found = {
        tag: [(event.step, event.value) for event in events.Scalars(tag)]
        for tag in events.Tags()["scalars"]
    }
    assert found == {
        "train/loss": [(0, 0.5), (1, 0.25)],
        "accuracy/chain": [(0, 0.5), (1, 0.75)],
    }
    (params,) = events.Tensors("params/text_summary")
    assert b"| distill.loss | `divergence` |" in params.tensor_proto.string_val[0]


def in_a_process(code: str, tmp_path: Path, **variables: str) -> str:
    """These libraries start threads and servers: what they leave goes with the process."""
    head = "import sys\nfrom pathlib import Path\nfrom rosd_core.track.trackers import send\n"
    head += "from tests.track.test_trackers import RUN\nfolder = Path(sys.argv[1])\n"
    env = os.environ | {"PYTHONPATH": str(ROOT)} | variables
    env.pop("TRACKIO_SPACE_ID", None)
    command = [sys.executable, "-c", head + code, str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.stage
def test_trackio_holds_each_point_once_even_if_it_is_sent_twice(tmp_path: Path):
    pytest.importorskip("trackio", reason="trackio is not installed")
    code = """
import json
from trackio.sqlite_storage import SQLiteStorage
for _ in range(2):
    where = send("trackio", RUN, folder)
    logs = SQLiteStorage.get_logs("demo", RUN.id)
    print(json.dumps([where, [{k: v for k, v in log.items() if k != "timestamp"} for log in logs]]))
"""
    for line in in_a_process(code, tmp_path, TRACKIO_DIR=str(tmp_path / "db")).splitlines():
        where, logs = json.loads(line)
        assert where == "trackio show --project demo"
        assert logs == [
            {"train/loss": 0.5, "step": 0},
            {"train/loss": 0.25, "step": 1},
            {"accuracy/chain": 0.5, "step": 0},
            {"accuracy/chain": 0.75, "step": 1},
        ]


def wandb_records(data: bytes) -> Iterator[bytes]:
    """The records of a .wandb file: after 7 bytes of header a log in the format of LevelDB, blocks
    of 32768 bytes with pieces of (checksum 4, length 2, kind 1: whole, first, middle, last).
    """
    place, record = 7, b""
    while place + 7 <= len(data):
        if (left := 32768 - place % 32768) < 7:
            place += left
            continue
        length, kind = struct.unpack_from("<HB", data, place + 4)
        record += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):
            yield record
            record = b""


@pytest.mark.stage
def test_wandb_writes_a_run_that_can_be_synced_later(tmp_path: Path):
    pytest.importorskip("wandb", reason="wandb is not installed (extra track)")
    code = """
import json
from wandb.proto.wandb_internal_pb2 import Record
from tests.track.test_trackers import wandb_records
print(send("wandb", RUN, folder))
(file,) = folder.glob("wandb/offline-run-*/run-0123456789ab.wandb")
for data in wandb_records(file.read_bytes()):
    record = Record()
    record.ParseFromString(data)
    if record.HasField("history"):
        items = record.history.item
        row = {i.key or ".".join(i.nested_key): json.loads(i.value_json) for i in items}
        print(json.dumps({k: v for k, v in row.items() if not k.startswith("_")}))
"""
    said = in_a_process(code, tmp_path, WANDB_MODE="offline").splitlines()
    assert said[0].startswith(f"wandb sync {tmp_path / 'wandb' / 'offline-run-'}")
    assert [json.loads(line) for line in said[1:]] == [
        {"train/loss": 0.5, "step": 0},
        {"train/loss": 0.25, "step": 1},
        {"accuracy/chain": 0.5, "iteration": 0},
        {"accuracy/chain": 0.75, "iteration": 1},
    ]


@pytest.mark.parametrize("to", sorted(trackers.TRACKERS))
def test_a_missing_tracker_is_one_message(to: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, to, None)  # as if it were not installed
    for name in [n for n in sys.modules if n.startswith((f"{to}.", "torch.utils.tensorboard"))]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(RosdError, match=f"track.to: {to} is not installed"):
        send(to, RUN, tmp_path)
