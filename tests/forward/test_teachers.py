"""Stored targets, teachers and adapters, through the real stages on the pocket model."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from rosd_core.distill.optimizer_state import state_files
from rosd_core.errors import RosdError
from rosd_core.forward.hidden_states import MixPart, ModelMix
from rosd_core.forward.teachers import load_head, load_mix, teacher_shares
from rosd_core.losses.head import head_of
from rosd_core.models.loading import load_weights
from rosd_core.tables.bfloat16 import from_bfloat16, to_bfloat16
from rosd_core.tables.io import read_csv, read_table
from stages.paths import Paths
from tests.support import ROOT, SMALL, run_stage, write_params

pytestmark = pytest.mark.stage

LORA = {"rank": 4, "alpha": 8.0, "dropout": 0.0, "modules": "all-linear", "merge": False}
SMALL_RATE = 2e-5  # distill.learning_rate of params.yaml
LAUNCH = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
ONE_STEP = {"rows_per_step": 1000, "batch_tokens": 300, "warmup_steps": 0}


@pytest.fixture(scope="module")
def aligned(tmp_path_factory):
    """A project up to align."""
    folder = tmp_path_factory.mktemp("aligned")
    write_params(folder, SMALL)
    shutil.copytree(ROOT / "models" / "base", folder / "models" / "base")
    run_stage(folder, "prepare")
    for stage in ("rollout", "reflect", "align"):
        run_stage(folder, stage, "i1")
    return folder


@pytest.fixture
def scored(aligned, tmp_path):
    """Runs score and distill with some settings; returns the paths."""

    def run(score=None, distill=None, iterations=("i1",), name="p", machine=None):
        folder = tmp_path / name
        if not folder.exists():
            shutil.copytree(aligned, folder)
        changes = SMALL | {
            "loop": {"i1": {"start": "base"}, "i2": {"start": "i1"}},
            "machine": SMALL["machine"] | (machine or {}),
            "score": score or {},
            "distill": SMALL["distill"] | ONE_STEP | (distill or {}),
        }
        write_params(folder, changes)
        for iteration in iterations:
            first = () if iteration == "i1" else ("rollout", "reflect", "align")
            for stage in (*first, "score", "distill"):
                run_stage(folder, stage, iteration)
        return Paths(folder)

    return run


def weights(paths, key="i1"):
    return load_file(paths.model(key) / "model.safetensors")


def largest_gap(a, b):
    return max((a[name] - b[name]).abs().max().item() for name in a)


def test_a_teacher_run_by_distill_gives_the_step_of_its_stored_targets(scored):
    """At the first optimizer step the student is the one that sampled, so the support is the same.
    AdamW's first step is lr g / (|g| + 1e-8), lr x sign(g) but for gradients near 1e-8, which are
    rounding: equal gradients, weights that are equal within a tenth of a step."""
    step = SMALL_RATE
    stored = weights(scored())
    live = scored({"targets": "none"}, name="live")
    assert largest_gap(stored, weights(live)) < step / 10
    table = read_table("scores", live.table("scores", "i1"))
    assert set(table["status"]) == {"deferred"}
    assert table["support_ids"].list.len().sum() == 0
    assert largest_gap(stored, weights(Paths(ROOT), "base")) > step * 0.9


@pytest.mark.parametrize("support", ["full", "union"])
def test_stored_hidden_states_give_the_loss_of_the_live_teacher(scored, support):
    """bf16 keeps 8 bits of a hidden state: the loss agrees to a per cent."""
    metrics = []
    for targets in ("hidden", "none"):
        paths = scored({"targets": targets, "support": support}, name=targets)
        metrics.append(json.loads(paths.metrics("distill", "i1").read_text()))
    assert metrics[0]["first_loss"] == pytest.approx(metrics[1]["first_loss"], rel=0.02)
    table = read_table("scores", paths.table("scores", "i1"))
    assert table["teacher_hidden"].null_count() == len(table)


def test_bfloat16_bytes_by_hand():
    """1, -2 and 0.15625 are exact in bf16: 0x3f80, 0xc000, 0x3e20, low byte first."""
    hidden = torch.tensor([[1.0, -2.0], [0.15625, 1.0]])
    stored = to_bfloat16(hidden)
    assert stored == bytes.fromhex("803f00c0203e803f")
    assert torch.equal(from_bfloat16(stored, 2).float(), hidden)


def test_the_running_mean_is_part_of_the_iteration_and_is_read_by_the_next(scored):
    paths = scored({"teacher": "ema", "ema_rate": 0.25}, iterations=("i1", "i2"))
    base, student = weights(Paths(ROOT), "base"), weights(paths)
    teacher = load_file(paths.model("i1") / "teacher" / "model.safetensors")
    for name, value in teacher.items():
        assert torch.allclose(value, 0.75 * base[name] + 0.25 * student[name], atol=1e-7)
    second, third = weights(paths, "i2"), paths.model("i2") / "teacher" / "model.safetensors"
    for name, value in load_file(third).items():
        assert torch.allclose(value, 0.75 * teacher[name] + 0.25 * second[name], atol=1e-7)


def test_the_trust_region_mixes_logits(tmp_path):
    """Two models: joined hidden states and heads give (1 - m) a + m b."""
    base = ROOT / "models" / "base"
    other = tmp_path / "other"
    model = load_weights(base, "cpu")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.1)
    model.save_pretrained(other)
    shares = teacher_shares("trust_region", base, other, 0.25)
    assert shares == [(base, 0.75), (other, 0.25)]
    mix = load_mix(shares, "cpu", 0)
    rows = [([5, 6, 7], [8, 9, 10], [0, 2]), ([5, 6], [11], [0])]
    mixed = mix.head().logits(mix.hidden(rows))
    logits = [
        head_of(m).logits(ModelMix((MixPart(m),), 0).hidden(rows))
        for m in (load_weights(base, "cpu"), model)
    ]
    assert torch.allclose(mixed, 0.75 * logits[0] + 0.25 * logits[1], atol=1e-3)
    assert torch.allclose(load_head(shares, "cpu").matrix_VH, mix.head().matrix_VH)
    # at the first iteration there is one model only
    assert teacher_shares("trust_region", base, base, 0.25) == [(base, 1.0)]
    assert teacher_shares("ema", base, base, 0.0) == [(base, 1.0)]


def test_the_base_may_be_an_iteration_of_an_earlier_run(scored, tmp_path):
    """Its teacher and its optimizer are not those of this run."""
    base = scored({"teacher": "ema"}).model("i1")
    assert (base / "teacher").is_dir()
    assert teacher_shares("ema", base, base, 0.0) == [(base, 1.0)]
    paths = scored({"teacher": "ema"}, {"warmup_steps": 10}, iterations=(), name="later")
    shutil.rmtree(paths.model("base"))
    shutil.copytree(base, paths.model("base"))
    for stage in ("rollout", "reflect", "align", "score", "distill"):
        run_stage(paths.root, stage, "i1")
    assert paths.curve("i1").read_text().splitlines()[1].startswith("0,")  # its step 0


@pytest.mark.parametrize("teacher", ["current", "trust_region"])
def test_other_teachers_run_through_two_iterations(scored, teacher):
    paths = scored({"teacher": teacher}, iterations=("i1", "i2"))
    metrics = json.loads(paths.metrics("distill", "i2").read_text())
    assert metrics["steps"] == 1
    assert metrics["first_loss"] > 0


def test_an_adapter_learns_alone_goes_on_and_stands_for_the_model(scored):
    pytest.importorskip("peft")
    from transformers import AutoModelForCausalLM

    settings = {"lora": LORA, "learning_rate": 1e-3}
    paths = scored({"targets": "none"}, settings, ("i1", "i2"))
    i1, i2 = paths.model("i1"), paths.model("i2")
    assert not (i1 / "model.safetensors").exists()
    first, second = (load_file(x / "adapter_model.safetensors") for x in (i1, i2))
    assert first.keys() == second.keys()
    assert largest_gap(first, second) > 1e-5
    step = load_file(paths.optimizer("i2") / "optimizer.safetensors")
    assert {int(v) for k, v in step.items() if k.startswith("step/")} == {2}  # its state goes on
    base, merged = load_weights(paths.model("base"), "cpu"), load_weights(i1, "cpu")
    ids = torch.tensor([[5, 6, 7, 8]])
    with torch.no_grad():
        assert not torch.allclose(base(ids).logits, merged(ids).logits, atol=1e-3)
        config = json.loads((i1 / "adapter_config.json").read_text())
        assert config["base_model_name_or_path"] == "models/base"  # counts from the project
        config["base_model_name_or_path"] = str(paths.model("base"))
        (i1 / "adapter_config.json").write_text(json.dumps(config))
        plain = AutoModelForCausalLM.from_pretrained(i1)
        assert torch.allclose(plain(ids).logits, merged(ids).logits, atol=1e-4)


def test_the_teacher_of_an_adapter_is_the_model_without_it(scored):
    """Stored targets of the base, and the base as the student with its adapter off."""
    pytest.importorskip("peft")
    settings, metrics = {"lora": LORA, "learning_rate": 1e-3}, []
    for targets in ("topk", "none"):
        paths = scored({"targets": targets}, settings, ("i1", "i2"), name=targets)
        metrics.append(json.loads(paths.metrics("distill", "i2").read_text()))
    assert metrics[0]["first_loss"] == pytest.approx(metrics[1]["first_loss"], rel=1e-3)


def test_an_adapter_of_another_shape_is_refused(scored):
    pytest.importorskip("peft")
    paths = scored(None, {"lora": LORA})
    scored(None, {"lora": LORA | {"rank": 8}}, iterations=())
    for stage in ("rollout", "reflect", "align", "score"):
        run_stage(paths.root, stage, "i2")
    with pytest.raises(RosdError, match=r"distill\.lora\.rank is 8"):
        run_stage(paths.root, "distill", "i2")


def test_merging_writes_whole_weights(scored):
    pytest.importorskip("peft")
    settings = {"lora": LORA | {"merge": True}, "learning_rate": 1e-3}
    paths = scored(None, settings, ("i1", "i2"))
    base, merged = weights(Paths(ROOT), "base"), weights(paths, "i2")
    assert base.keys() == merged.keys()
    assert largest_gap(base, merged) > 1e-5
    assert not (paths.model("i2") / "adapter_config.json").exists()


@pytest.mark.parametrize("targets", ["topk", "none"])
def test_an_adapter_on_weights_in_four_bits(scored, targets):
    """What is written is an adapter on the base as it was: merged or apart, the same model. The
    teacher is never in 4 bits."""
    pytest.importorskip("peft")
    pytest.importorskip("bitsandbytes")
    found = {}
    for merge in (True, False):
        lora = LORA | {"merge": merge, "quantize": "nf4"}
        settings = {"lora": lora, "learning_rate": 1e-3}
        paths = scored({"targets": targets}, settings, ("i1", "i2"), f"merge-{merge}")
        model = load_weights(paths.model("i1"), "cpu")
        found[merge] = {name: p.detach() for name, p in model.named_parameters()}
    assert largest_gap(found[True], found[False]) < 1e-6
    base = dict(load_weights(paths.model("base"), "cpu").named_parameters())
    assert 1e-4 < largest_gap(found[False], base) < 0.1  # of Adam's first step on A and B
    metrics = json.loads(paths.metrics("distill", "i1").read_text())
    assert metrics["mean_importance"] == pytest.approx(1, abs=0.1)  # near what sampled


@pytest.mark.parametrize("setting", [{"gradient_checkpointing": True}, {"batch_tokens": 1}])
def test_memory_savers_do_not_change_the_step(scored, setting):
    """AdamW's first step is lr x sign(gradient): a gradient of rounding noise may move its weight
    anywhere within lr, so the whole update is compared."""
    paths = scored(), scored(None, setting, name="other")
    base, plain, saving = weights(Paths(ROOT), "base"), *map(weights, paths)
    one, other = (read_csv(p.curve("i1")) for p in paths)  # that step does not know its scale
    for name in ("loss", "grad_norm"):
        assert one[name].to_list() == pytest.approx(other[name].to_list(), rel=1e-4)
    update = sum((plain[name] - base[name]).square().sum() for name in plain)
    gap = sum((plain[name] - saving[name]).square().sum() for name in plain)
    assert gap < 1e-4 * update


def test_bfloat16_autocast_keeps_fp32_weights(scored):
    exact, fast = scored(), scored(None, {"autocast": "bfloat16"}, name="fast")
    metrics = [json.loads(p.metrics("distill", "i1").read_text()) for p in (exact, fast)]
    assert metrics[0]["first_loss"] == pytest.approx(metrics[1]["first_loss"], rel=0.1)
    assert {v.dtype for v in weights(fast).values()} == {torch.float32}


@pytest.mark.parametrize("sharding", ["none", "fsdp"])
def test_torchrun_gives_the_weights_of_one_process(scored, sharding):
    """Two processes that torchrun starts, each with half of the batches, and its part of the
    weights with fsdp; the first one writes.
    """
    alone = scored()
    paths = scored(None, {"sharding": sharding}, name="two")
    here = weights(paths)  # by one process, too
    shutil.rmtree(paths.model("i1"))
    command = [*LAUNCH, "-m", "stages.distill", "i1", "--params", str(paths.root / "params.yaml")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    for found in (here, weights(paths)):
        assert largest_gap(weights(alone), found) < 1e-6
    files = [sorted(f.name for f in p.model("i1").iterdir()) for p in (alone, paths)]
    assert files[0] == files[1]
    assert len(state_files(paths.optimizer("i1"))) == (1 if sharding == "none" else 2)


@pytest.mark.slow
@pytest.mark.parametrize(("sharding", "killed"), [("none", 1), ("fsdp", 0), ("fsdp", 1)])
def test_a_process_that_dies_ends_the_others(scored, sharding, killed):
    """torchrun says which one it was; nothing but the save is there, and a run with another number
    of processes (sharded), or the same (not sharded), goes on from it.
    """
    settings = {"sharding": sharding, "rows_per_step": 4, "save_every": 1}
    alone = scored(None, settings)
    paths = scored(None, settings, name="two", iterations=())
    run_stage(paths.root, "score", "i1")
    dying = str(Path(__file__).parents[1] / "distill" / "dying.py")
    params = ["i1", "--params", str(paths.root / "params.yaml")]
    environment = {**os.environ, "KILLED": str(killed), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*LAUNCH, dying, *params], cwd=ROOT, capture_output=True, text=True, timeout=300,
        env=environment, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert f"rank      : {killed} (local_rank: {killed})\n  exitcode  : -9" in done.stderr
    told = [line for line in done.stderr.splitlines() if line.startswith("rosd distill:")]
    assert len(told) == 1
    assert "has lost another one" in told[0] or "interrupted" in told[0]
    assert not paths.model("i1").exists()
    assert not list(paths.root.rglob("*.tmp"))
    again = ["-m", "stages.distill", *params]
    run = [*LAUNCH, *again] if sharding == "none" else [sys.executable, *again]
    done = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "distill: goes on after" in done.stderr
    assert largest_gap(weights(alone), weights(paths)) < 1e-6


@pytest.mark.gpu
def test_a_gpu_makes_the_step_of_the_cpu(scored):
    if not torch.cuda.is_available():
        pytest.skip("torch sees no GPU")
    first = []
    for device, autocast in (("cpu", "none"), ("cuda", "none"), ("cuda", "bfloat16")):
        score, name = {"autocast": autocast}, f"{device}-{autocast}"
        paths = scored(score, score, ("i1", "i2"), name, {"device": device})
        metrics = json.loads(paths.metrics("distill", "i1").read_text())
        first.append(metrics["first_loss"])
    assert first[1] == pytest.approx(first[0], rel=1e-3)
    assert first[2] == pytest.approx(first[0], rel=0.1)
