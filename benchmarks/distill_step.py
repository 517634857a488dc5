"""One distillation step (forward and backward), ours beside TRL's losses, on the same tokens.

    python benchmarks/distill_step.py [--vocabulary 151936] [--steps 5] [--threads 2]
    python benchmarks/distill_step.py --device cuda --shape 4b --longest 8192    (untested)

Needs trl (pip install -e '.[trl]'). Eight ragged rows: responses of 32 to 256 tokens, prompts of
80 to 200 (`--one-problem`: one prompt for all, as in a group of samples), teacher prompts 150 to
400 tokens longer; a random Qwen3 of 4 layers, width 256. Each case runs in a process of its own, so
that its peak memory is its own; the order is repeated, and the fastest step of a case counts, by
CPU time with --threads 1, else by wall time. Memory is the peak above the model with its gradients.

TRL's cases are its own loss functions behind the padded forward passes of its trainers (prompts
padded on the left, responses on the right, logits of the response alone). A mask leaves out the
first 50 or 90 % of each response; TRL has no such mask and computes everything.
"""

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

SHAPES = {
    "pocket": {
        "hidden_size": 256, "intermediate_size": 768, "num_hidden_layers": 4,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 64,
        "tie_word_embeddings": False,
    },
    "4b": {
        "hidden_size": 2560, "intermediate_size": 9728, "num_hidden_layers": 36,
        "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128,
        "tie_word_embeddings": True,
    },
}  # fmt: skip
TOP_K = 100
OURS = ["ours, stored top-k", "ours, stored hidden, full", "ours, live top-k", "ours, live full"]
TRL = ["TRL SDPO top-k", "TRL SDPO full", "TRL GKD", "TRL chunked"]


def make_rows(spec: dict[str, Any]) -> list[dict[str, Any]]:
    """Score rows with random tokens; lengths scale with `longest`, the longest response."""
    import numpy as np

    vocabulary, longest, masked = spec["vocabulary"], spec["longest"], spec["masked"]
    draw, scale = np.random.default_rng(0), longest / 256
    lengths = np.linspace(32, 256, 8) * scale
    rows = []
    for n, length in enumerate(lengths.astype(int)):
        if not (spec["one_problem"] and rows):
            prompt = draw.integers(0, vocabulary, int(draw.integers(80, 201) * min(scale, 8)))
        more = draw.integers(0, vocabulary, int(draw.integers(150, 401) * min(scale, 8)))
        first = int(length * masked)
        positions = list(range(first, length))
        rows.append(
            {
                "rollout_id": str(n),
                "problem_id": str(n),
                "kind": "wrong",
                "policy": "quote",
                "prompt_ids": prompt.tolist(),
                "teacher_prompt_ids": [*prompt.tolist(), *more.tolist()],
                "response_ids": draw.integers(0, vocabulary, length).tolist(),
                "positions": positions,
                "behaviour_logp": np.full(len(positions), -10.0, np.float32),
                "student_logp": np.full(len(positions), -10.0, np.float32),
                "weight": 1.0,
                "token_weight": np.ones(len(positions)),
            }
        )
    return rows


def make_model(shape: str, vocabulary: int, longest: int, device: str) -> Any:
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    torch.manual_seed(0)
    settings: dict[str, Any] = SHAPES[shape] | {"vocab_size": vocabulary}
    config = Qwen3Config(**settings, max_position_embeddings=8 * longest)
    with torch.device(device):
        return Qwen3ForCausalLM(config)


def our_step(case: str, model: Any, rows: Any, batch_tokens: int) -> Any:
    """A function that does one step, and the targets that are stored before it."""
    import torch

    from rosd_core.distill.batch_loss import batch_loss
    from rosd_core.distill.targets import Objective, split_step
    from rosd_core.forward.hidden_states import MixPart, ModelMix
    from rosd_core.forward.packing import packed_attention
    from rosd_core.forward.teachers import Teacher
    from rosd_core.losses.token_losses import LossSettings
    from rosd_core.score.rows import ScoreSettings, score_rows

    mix, teacher = ModelMix((MixPart(model),), 0), None
    settings = LossSettings(
        loss="divergence", alpha=0.5, tail="bucket", importance_clip=2.0, entry_clip=None,
        policy_clip=0.2, kl_weight=0.04, unlikely=0.2, top_k=TOP_K,
        support="full" if "full" in case else "student",
    )  # fmt: skip
    if "live" in case:
        teacher = Teacher(mix.head(), mix)
    else:
        targets = "hidden" if "hidden" in case else "topk"
        scored: Any = score_rows(
            rows, mix, mix, ScoreSettings(targets, "student", TOP_K, batch_tokens, "keep", 0.05, 0)
        )
        rows = scored
        teacher = Teacher(mix.head()) if targets == "hidden" else None
    tokens = sum(len(row["positions"]) for row in rows)
    objective = Objective(settings, teacher)
    batches = split_step(rows, batch_tokens, objective.live_teacher)
    low = torch.autocast(model.device.type, torch.bfloat16, enabled=model.device.type == "cuda")

    def step() -> float:
        total = 0.0
        with packed_attention(model):
            for batch in batches:
                with low:
                    loss, _ = batch_loss(model, batch, objective, 0, tokens)
                loss.backward()
                total += loss.item()
        return total

    return step


def trl_step(case: str, model: Any, rows: list[dict[str, Any]]) -> Any:
    """The same step by TRL's functions on padded rows."""
    import torch
    from torch.nn.utils.rnn import pad_sequence
    from trl.experimental.gkd.gkd_trainer import GKDTrainer
    from trl.experimental.sdpo import loss_utils
    from trl.trainer.distillation_trainer import _chunked_divergence_loss
    from trl.trainer.utils import selective_log_softmax

    device = model.device

    def padded(name: str, side: str) -> tuple[torch.Tensor, torch.Tensor]:
        ids = [torch.tensor(row[name]) for row in rows]
        ones = [torch.ones(len(x), dtype=torch.long) for x in ids]
        both = (pad_sequence(x, batch_first=True, padding_side=side) for x in (ids, ones))
        first, second = (x.to(device) for x in both)
        return first, second

    response, response_mask = padded("response_ids", "right")
    keep = response.shape[1]
    inputs = []
    for name in ("prompt_ids", "teacher_prompt_ids"):
        prompt, mask = padded(name, "left")
        ids, whole = torch.cat([prompt, response], 1), torch.cat([mask, response_mask], 1)
        inputs.append({"input_ids": ids, "attention_mask": whole, "use_cache": False})
    old = torch.full(response.shape, -10.0, device=device)
    low = torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda")

    def logits(which: int) -> torch.Tensor:
        return model(**inputs[which], logits_to_keep=keep + 1).logits[:, :-1][:, -keep:]

    def hidden(which: int) -> torch.Tensor:
        return model.model(**inputs[which]).last_hidden_state[:, :-1][:, -keep:]

    def loss_of() -> torch.Tensor:
        if case == "TRL chunked":
            student = hidden(0)
            with torch.no_grad():
                teacher = hidden(1)
            head = model.lm_head.weight
            return _chunked_divergence_loss(
                student, teacher, head, head.detach(), response_mask, beta=0.5
            )[0]
        student = logits(0)
        with torch.no_grad():
            teacher = logits(1)
        if case == "TRL GKD":
            labels = response.masked_fill(response_mask == 0, -100)
            return GKDTrainer.generalized_jsd_loss(student, teacher, labels=labels, beta=0.5)
        if case == "TRL SDPO top-k":
            per_token = loss_utils.compute_topk_self_distillation_loss(
                student, teacher, distillation_topk=TOP_K, distillation_alpha=0.5,
                distillation_add_tail=True,
            )  # fmt: skip
        else:
            per_token = loss_utils.compute_full_logit_self_distillation_loss(
                student, teacher, distillation_alpha=0.5
            )
        now = selective_log_softmax(student, response)
        per_token = loss_utils.apply_importance_sampling_clipping(per_token, now, old, 2.0)
        return (per_token * response_mask).sum() / response_mask.sum()

    def step() -> float:
        with low:
            loss = loss_of()
        loss.backward()
        return loss.item()

    return step


def run_case(spec: dict[str, Any]) -> dict[str, float]:
    """Seconds of the fastest step and peak extra memory in MiB of one case, in this process."""
    import torch

    torch.set_num_threads(spec["threads"])
    cuda = spec["device"] == "cuda"
    model = make_model(spec["shape"], spec["vocabulary"], spec["longest"], spec["device"])
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    rows = make_rows(spec)
    model.train()
    ours = spec["case"].startswith("ours")
    step = (
        our_step(spec["case"], model, rows, spec["batch_tokens"])
        if ours
        else trl_step(spec["case"], model, rows)
    )
    if cuda:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
    else:
        Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
        before = status_kib("VmRSS")
    seconds, clock = [], step_clock(spec["device"], spec["threads"])
    for _ in range(spec["steps"] + 1):
        started = clock()
        loss = step()
        if cuda:
            torch.cuda.synchronize()
        seconds.append(clock() - started)
    peak = torch.cuda.max_memory_allocated() if cuda else status_kib("VmHWM")
    extra = (peak - before) / (2**20 if cuda else 2**10)
    return {"seconds": min(seconds[1:]), "extra_mib": extra, "loss": loss}


def step_clock(device: str, threads: int) -> Callable[[], float]:
    """CPU time where one thread does all the work, so that other processes count less."""
    return time.process_time if device == "cpu" and threads == 1 else time.perf_counter


def status_kib(name: str) -> int:
    """A line of /proc/self/status, in KiB; the peak of the process elsewhere."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(name + ":"))
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def matmul_peak(device: str, threads: int) -> float:
    """The machine's best matrix product, in FLOP/s."""
    import torch

    torch.set_num_threads(threads)
    size, kind = (8192, torch.bfloat16) if device == "cuda" else (2048, torch.float32)
    a = torch.randn(size, size, device=device, dtype=kind)
    best, clock = float("inf"), step_clock(device, threads)
    for _ in range(8):
        started = clock()
        _ = a @ a
        if device == "cuda":
            torch.cuda.synchronize()
        best = min(best, clock() - started)
    return 2 * size**3 / best


def needed_flops(spec: dict[str, Any]) -> float:
    """Matrix products of our step with stored top-k targets, attention left out."""
    from rosd_core.forward.packing import pack_row, packed_tokens

    rows, shape = make_rows(spec), SHAPES[spec["shape"]]

    h, d = shape["hidden_size"], shape["head_dim"]
    heads, kv = shape["num_attention_heads"], shape["num_key_value_heads"]
    layer = h * d * (2 * heads + 2 * kv) + 3 * h * shape["intermediate_size"]
    trunk = layer * shape["num_hidden_layers"]
    read = packed_tokens([pack_row(row) for row in rows])
    supervised = sum(len(row["positions"]) for row in rows)
    return 6.0 * (trunk * read + h * spec["vocabulary"] * supervised)


def main(
    vocabulary: int = 32000,
    steps: int = 5,
    threads: int = 2,
    device: str = "cpu",
    shape: str = "pocket",
    longest: int = 256,
    batch_tokens: int = 4096,
    repeats: int = 2,
    one_problem: bool = False,
    only: Annotated[str, typer.Option(help="Part of the names of cases.")] = "",
    case: Annotated[str, typer.Option(hidden=True)] = "",
) -> None:
    """Print a Markdown table."""
    if case:
        print(json.dumps(run_case(json.loads(case))))
        return
    base = {"vocabulary": vocabulary, "steps": steps, "threads": threads, "device": device,
            "shape": shape, "longest": longest, "batch_tokens": batch_tokens,
            "one_problem": one_problem}  # fmt: skip
    cases = [(name, masked) for masked in (0.0, 0.5, 0.9) for name in OURS]
    cases = [(name, 0.0) for name in TRL] + cases
    found: dict[tuple[str, float], Any] = {}
    for _ in range(repeats):
        for key in cases:
            if only not in key[0] and key[0] != TRL[0]:
                continue
            spec = json.dumps(base | {"case": key[0], "masked": key[1]})
            command = [sys.executable, __file__, "--case", spec]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                print(f"{key}: {done.stderr.strip().splitlines()[-1]}", file=sys.stderr)
                continue
            metrics = json.loads(done.stdout.splitlines()[-1])
            before = found.get(key, metrics)
            found[key] = {name: min(before[name], metrics[name]) for name in metrics}
    peak = matmul_peak(device, threads)
    if (TRL[0], 0.0) not in found:
        raise SystemExit(1)
    one = found[TRL[0], 0.0]
    print(f"\nV {vocabulary}, {threads} threads, matmul peak {peak / 1e9:.0f} GFLOP/s\n")
    print("| loss | masked | ms a step | speed, TRL SDPO top-k = 1 | extra MiB | its share |")
    print("| --- | --- | --- | --- | --- | --- |")
    for (name, masked), metrics in found.items():
        speed, share = one["seconds"] / metrics["seconds"], metrics["extra_mib"] / one["extra_mib"]
        print(
            f"| {name} | {masked:.0%} | {1000 * metrics['seconds']:.0f} | {speed:.2f} | "
            f"{metrics['extra_mib']:.0f} | {share:.2f} |"
        )
    for masked in (0.0, 0.5, 0.9):
        metrics = found.get((OURS[0], masked))
        if metrics:
            flops = needed_flops(base | {"masked": masked})
            share = flops / metrics["seconds"] / peak
            print(
                f"\nstored top-k, {masked:.0%} masked: {share:.0%} of the matmul peak "
                f"({flops / 1e9:.0f} GFLOP in matrix products)"
            )


if __name__ == "__main__":
    typer.run(main)
