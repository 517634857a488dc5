"""Several processes, with all weights in each or sharded (FSDP2), against one process."""

import json
from dataclasses import replace
from importlib.util import find_spec

import pytest
import torch

from rosd_core.distill.checkpoint import Saves
from rosd_core.distill.optimizer_state import STATE_FILE, load_state, state_files
from rosd_core.distill.processes import own_device, processes
from rosd_core.errors import RosdError
from tests.distill import many
from tests.distill.many import CASES, CUT, CUT_8BIT, FIRST, LAST, UNSAVED, run_case

pytestmark = pytest.mark.stage
INSTALLED = find_spec("torchao") is not None
NAMES = [name for name in CASES if INSTALLED or name != "adamw_8bit"]
CUTS = ["cut", "cut 8 bit"] if INSTALLED else ["cut"]


def started(tiny, folder, world):
    """The folder of what `many.everything` wrote in so many processes."""
    from torch.multiprocessing.spawn import spawn

    for name, case in (("cut", CUT), ("cut 8 bit", CUT_8BIT)):
        if name in CUTS:
            run_case(tiny, case, "none", UNSAVED, FIRST, folder / name / "plain")
    names = (*NAMES, *CUTS)
    spawn(many.everything, (world, tiny.state_dict(), tiny.config, folder, names), nprocs=world)
    return folder


@pytest.fixture(scope="module")
def two(tiny, tmp_path_factory):
    return started(tiny, tmp_path_factory.mktemp("two"), 2)


@pytest.fixture(scope="module")
def three(tiny, tmp_path_factory):
    return started(tiny, tmp_path_factory.mktemp("three"), 3)


def norm(tensors):
    return torch.stack([tensor.norm() for tensor in tensors]).norm().item()


def assert_equal(one, many_found, start, least=1e-4):
    """Weights by their share of the update, and the optimizer's state and logs by their size.

    AdamW's first step is lr x sign(gradient): a gradient of rounding noise may move its weight
    anywhere within lr, so the whole update is compared.
    """
    for name in ("weights", "state"):
        assert one[name].keys() == many_found[name].keys()
    pairs = [(one["weights"][n], many_found["weights"][n], start[n]) for n in one["weights"]]
    assert norm([a - b for a, b, _ in pairs]) < least * norm([a - c for a, _, c in pairs])
    state = [(one["state"][n].float(), many_found["state"][n].float()) for n in one["state"]]
    assert norm([a - b for a, b in state]) < least * norm([a for a, _ in state])
    assert len(one["logs"]) == len(many_found["logs"])
    for a, b in zip(one["logs"], many_found["logs"], strict=True):
        assert a == pytest.approx(b, rel=least)
    assert one["drift"] == pytest.approx(many_found["drift"], rel=least)


def compared(tiny, folder, name, sharding, world):
    case = CASES[name]
    alone = replace(case, settings=case.settings | {"offload": False})
    one = run_case(tiny, alone, "none")
    found = torch.load(folder / f"{name}-{sharding}.pt", weights_only=False)
    start = dict(case.made(tiny)[0].model.named_parameters())
    assert_equal(one, found, {n: p.detach() for n, p in start.items()}, case.least)
    files = [folder / f"{name}-{sharding}.{rank}.json" for rank in range(world)]
    said = [json.loads(file.read_text()) for file in files]
    assert all(other == said[0] for other in said)


DATA_PARALLEL = [name for name in NAMES if name not in many.ONLY_SHARDED]
SHARDED = [name for name in NAMES if name not in many.NOT_SHARDED]


@pytest.mark.parametrize("name", DATA_PARALLEL)
def test_two_processes_make_the_steps_of_one(tiny, two, name):
    compared(tiny, two, name, "none", 2)


@pytest.mark.parametrize("name", SHARDED)
def test_two_processes_with_sharded_weights_make_the_steps_of_one(tiny, two, name):
    compared(tiny, two, name, "fsdp", 2)


@pytest.mark.slow
@pytest.mark.parametrize("name", DATA_PARALLEL)
def test_three_processes_make_the_steps_of_one(tiny, three, name):
    compared(tiny, three, name, "none", 3)


@pytest.mark.slow
@pytest.mark.parametrize("name", SHARDED)
def test_three_processes_with_sharded_weights_make_the_steps_of_one(tiny, three, name):
    compared(tiny, three, name, "fsdp", 3)


def goes_on(tiny, folder, name, sharded):
    """What two sharded processes began, ended by this one: from their save, and from their state
    as the next iteration would.
    """
    case = CUT if name == "cut" else CUT_8BIT
    least = 1e-4 if name == "cut" else 0.05
    start = {n: p.detach() for n, p in case.made(tiny)[0].model.named_parameters()}
    whole = run_case(tiny, case, "none")
    last = run_case(tiny, case, "none", replace(UNSAVED, start=folder / name / "plain"), LAST)
    sharding = "fsdp" if sharded else "none"
    with processes("cpu", alone_too=sharded):
        saves = Saves(None, folder / name / "saves", None, writes=False)
        assert_equal(whole, run_case(tiny, case, sharding, saves), start, least)
        saves = replace(UNSAVED, start=folder / name / "state")
        assert_equal(last, run_case(tiny, case, sharding, saves, LAST), start, least)


@pytest.mark.parametrize("name", CUTS)
@pytest.mark.parametrize("sharded", [False, True])
def test_one_process_goes_on_where_two_stopped(tiny, two, name, sharded):
    goes_on(tiny, two, name, sharded)


@pytest.mark.slow
@pytest.mark.parametrize("name", CUTS)
@pytest.mark.parametrize("sharded", [False, True])
def test_one_process_goes_on_where_three_stopped(tiny, three, name, sharded):
    goes_on(tiny, three, name, sharded)


@pytest.mark.parametrize("name", CUTS)
def test_sharded_processes_go_on_from_the_state_of_one(tiny, two, name):
    case, least = (CUT, 1e-4) if name == "cut" else (CUT_8BIT, 0.05)
    start = {n: p.detach() for n, p in case.made(tiny)[0].model.named_parameters()}
    one = run_case(tiny, case, "none", replace(UNSAVED, start=two / name / "plain"), LAST)
    assert_equal(one, torch.load(two / name / "from-plain.pt", weights_only=False), start, least)


def test_processes_with_different_params_say_so_once(two):
    said = [(two / f"compared.{rank}").read_text() for rank in range(2)]
    assert said == [
        "the processes do not train the same: distill.learning_rate is 0.0 in process 0, but 0.5 "
        "in process 1. Start all of them with the same params.yaml, code and files.",
        "exit 1",
    ]


def test_a_gpu_that_is_not_there(monkeypatch):
    assert own_device("cpu") == "cpu"
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(RosdError, match="torch sees no GPU"):
        own_device("cuda")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(RosdError, match="process 2 of this machine has no GPU, torch sees 2"):
        own_device("cuda")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert own_device("cuda") == "cuda:1"


def test_a_model_without_decoder_layers_is_refused(tiny):
    def without(tiny):
        student, objective = many.plain(tiny)
        student.model._no_split_modules = None
        return student, objective

    with processes("cpu", alone_too=True), pytest.raises(RosdError, match=r"no decoder layers of"):
        run_case(tiny, replace(CUT, made=without), "fsdp")


def test_a_group_of_one_ends(tiny):
    """Also after an error; sharded weights of one process are those of none."""
    with pytest.raises(RosdError, match="of its own"), processes("cpu", alone_too=True):
        raise RosdError("of its own")
    with pytest.raises(RosdError, match="has lost another one"), processes("cpu", alone_too=True):
        raise RuntimeError("[/gloo/transport/tcp/pair.cc:553] Connection closed by peer")
    assert not torch.distributed.is_initialized()


def test_a_shard_that_is_missing_and_a_state_of_another_model(tiny, two, tmp_path):
    """Whichever file of a sharded state is lost, nothing is read as zeros."""
    files = state_files(two / "cut" / "state")
    assert [file.name.split("-model")[0] for file in files] == ["shard-00001", "shard-00002"]
    parameters = dict(tiny.named_parameters())
    optimizer = torch.optim.AdamW(parameters.values())
    for kept in files:
        for old in tmp_path.iterdir():
            old.unlink()
        (tmp_path / kept.name).write_bytes(kept.read_bytes())
        with pytest.raises(RosdError, match="1 of 2 files are there"):
            load_state(optimizer, list(parameters), tmp_path)
    adafactor = torch.optim.Adafactor(parameters.values())
    with pytest.raises(RosdError, match=r"exp_avg, exp_avg_sq of another optimizer"):
        load_state(adafactor, list(parameters), two / "cut" / "plain")
    assert (two / "cut" / "plain" / STATE_FILE).is_file()
