"""One, two and three processes of distill: weights against those of one, and memory of each.

    python benchmarks/distributed.py [--steps 2] [--layers 12]

A random Qwen3 of 46 M parameters (12 layers, width 512, 16,000 ids) and random stored targets;
every case is started by torchrun, on a CPU with gloo and one thread a process. Each process has all
weights (`none`) or its part of them (`fsdp`). Memory is that of the process with the most: beyond
its imports, the peak of the training, with MALLOC_MMAP_THRESHOLD_ set so that glibc gives back what
is freed: else gathered layers stay with the process, and sharding saves no memory on a CPU.
`differs by` is the norm of the difference of the weights from those of one process over the norm of
its update. The last cases are cut after their first step and go on, from sharded saves, with
another number of processes.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import typer

ROOT = Path(__file__).resolve().parent.parent
# processes, sharding, offload, optimizer, processes that had done the first step (0: none)
CASES = [
    (1, "none", False, "adamw", 0),
    (2, "none", False, "adamw", 0),
    (1, "fsdp", False, "adamw", 0),
    (2, "fsdp", False, "adamw", 0),
    (3, "fsdp", False, "adamw", 0),
    (2, "fsdp", True, "adamw", 0),
    (1, "none", False, "adafactor", 0),
    (1, "none", False, "adamw_8bit", 0),
    (2, "fsdp", False, "adamw_8bit", 0),
    (1, "fsdp", False, "adamw", 2),
    (3, "fsdp", False, "adamw", 2),
]
VOCABULARY = 16000


def make_model(layers: int) -> Any:
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=VOCABULARY, hidden_size=512, intermediate_size=1536, num_hidden_layers=layers,
        num_attention_heads=8, num_key_value_heads=4, head_dim=64, tie_word_embeddings=True,
        max_position_embeddings=1024,
    )  # fmt: skip
    return Qwen3ForCausalLM(config)


def make_steps(steps: int) -> list[list[dict[str, Any]]]:
    """Optimizer steps of 8 rows of different lengths, with random targets on 16 ids."""
    import numpy as np

    draw = np.random.default_rng(0)

    def row(number: int) -> dict[str, Any]:
        length = int(draw.integers(16, 97))
        logp = np.log(draw.dirichlet(np.ones(17), length))
        return {
            "problem_id": str(number // 4),
            "prompt_ids": draw.integers(0, VOCABULARY, 48).tolist(),
            "response_ids": draw.integers(0, VOCABULARY, length).tolist(),
            "positions": list(range(length)),
            "behaviour_logp": np.full(length, -9.0),
            "student_logp": np.full(length, -9.0),
            "weight": 1.0,
            "token_weight": np.ones(length),
            "support_ids": draw.integers(0, VOCABULARY, (length, 16)),
            "support_logp": logp[:, :16],
            "tail_logp": logp[:, 16],
            "teacher_logp": logp[:, 0],
        }

    return [[row(8 * step + n) for n in range(8)] for step in range(steps)]


def kib(name: str) -> int:
    """A line of /proc/self/status."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name + ":"))


def worker(spec: dict[str, Any]) -> None:
    """One process of a case."""
    import torch

    from rosd_core.distill.checkpoint import Saves
    from rosd_core.distill.processes import processes
    from rosd_core.distill.sharded import whole_student
    from rosd_core.distill.targets import Objective
    from rosd_core.distill.train import Optimization, train
    from rosd_core.distill.watch import Watch
    from rosd_core.guards import Guards
    from rosd_core.losses.token_losses import LossSettings
    from rosd_core.models.student import Student

    torch.set_num_threads(1)
    settings = LossSettings(
        loss="divergence", alpha=0.5, tail="bucket", importance_clip=2.0, entry_clip=None,
        policy_clip=0.2, kl_weight=0.04, unlikely=0.2, support="student", top_k=16,
    )  # fmt: skip
    optimization = Optimization(
        learning_rate=1e-4, warmup_steps=0, betas=(0.9, 0.999), weight_decay=0.01, grad_clip=1.0,
        batch_tokens=256, autocast="none", gradient_checkpointing=False,
        optimizer=spec["optimizer"], sharding=spec["sharding"], offload=spec["offload"],
    )  # fmt: skip
    folder, steps = Path(spec["folder"]), make_steps(spec["steps"])
    if spec["optimizer"] == "adamw_8bit":
        import torchao.optim  # noqa: F401  # pyright: ignore[reportMissingImports] (an import, too)
    with processes("cpu", spec["sharding"] == "fsdp") as (_, first):
        imports, cpu = kib("VmRSS"), time.process_time()
        model = make_model(spec["layers"])
        Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
        saves = Saves(None, folder, 1 if spec["cut"] else None, first)
        how = (
            saves,
            Objective(settings),
            optimization,
            0,
            0,
            Watch(Guards("x", {}, "off", ""), True),
        )
        logs, _, _ = train(model, steps[: 1 if spec["cut"] else None], *how)
        told = {
            "cpu": time.process_time() - cpu,
            "whole": (kib("VmHWM") - imports) / 1024,
            "after": (kib("VmRSS") - imports) / 1024,
            "norm": [log.grad_norm for log in logs],
        }
        whole = whole_student(Student(model), lambda: Student(make_model(spec["layers"]))).model
        if first and not spec["cut"]:
            torch.save({n: p.detach() for n, p in whole.named_parameters()}, folder / "weights.pt")
    rank = os.environ.get("RANK", "0")
    (folder / f"told.{rank}.json").write_text(json.dumps(told), encoding="utf-8")


def run(count: int, **spec: Any) -> list[dict[str, Any]]:
    """A case in so many processes: what each told."""
    launch = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
    command = [sys.executable, *launch, __file__, "--spec", json.dumps(spec)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MALLOC_MMAP_THRESHOLD_": "262144"}
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment)
    if done.returncode:
        raise SystemExit(done.stderr)
    folder = Path(spec["folder"])
    return [json.loads((folder / f"told.{n}.json").read_text()) for n in range(count)]


def main(steps: int = 2, layers: int = 12, spec: Annotated[str, typer.Option(hidden=True)] = ""):
    """Print a Markdown table."""
    if spec:
        worker(json.loads(spec))
        return
    import torch

    start = dict(make_model(layers).named_parameters())
    count, one = sum(p.numel() for p in start.values()), {}
    print(f"\n{count / 1e6:.0f} M parameters, fp32 weights {4 * count / 2**20:.0f} MiB\n")
    print(
        "| processes | sharding | optimizer | peak MiB | bytes a parameter | CPU s | differs by |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for processes, sharding, offload, optimizer, before in CASES:
        with tempfile.TemporaryDirectory() as name:
            how = {"folder": name, "sharding": sharding, "offload": offload, "layers": layers,
                   "optimizer": optimizer, "steps": steps}  # fmt: skip
            if before:
                run(before, cut=True, **how)
            told = run(processes, cut=False, **how)
            found = torch.load(Path(name) / "weights.pt")
        with torch.no_grad():
            one.setdefault(optimizer, found)
            gap = sum((found[n] - one[optimizer][n]).square().sum() for n in found)
            moved = sum((p - one[optimizer][n]).square().sum() for n, p in start.items())
        peak, cpu = (max(each[key] for each in told) for key in ("whole", "cpu"))
        shown = (
            f"{sharding}{', offload' if offload else ''}{f', begun by {before}' if before else ''}"
        )
        share = 0.0 if found is one[optimizer] else float(gap / moved) ** 0.5
        print(
            f"| {processes} | {shown} | {optimizer} | {peak:.0f} | {peak * 2**20 / count:.1f} | "
            f"{cpu:.1f} | {share:.1e} |", flush=True,
        )  # fmt: skip


if __name__ == "__main__":
    typer.run(main)
