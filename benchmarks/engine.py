"""Tokens per CPU second of the engine, before and after it had a decoder of its own, and of
`transformers.generate`, with the same model and prompts.

    python benchmarks/engine.py                                          # the pocket model
    python benchmarks/engine.py --model FOLDER --problems 8 --prompt 70 --new 40    # minutes
    python benchmarks/engine.py --shape smollm2 ...      # random weights of SmolLM2-135M's shape

`before` is the general path, which other models still take; `bfloat16` is `after` with `autocast:
bfloat16`. Workloads: `samples`, where the `group`
rows of a problem have the same prompt; `single`, where every row has another one; `reflections`,
where the rows of a problem share the first part of it; `stops`, which is `samples` with rows that
end at every step with a probability of about 2 / `new`. In the others every row has `new` tokens.
The ratio is what counts: seconds depend on the machine. The best of the repeats is taken. Peak
memory is that of the process so far, so compare it between runs of one engine each (`--engines`).
"""

import resource
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from rosd_core.models.loading import load_weights
from rosd_core.sampling.engine import Decoding, Request
from rosd_core.sampling.transformers_engine import TransformersEngine

ROOT = Path(__file__).resolve().parent.parent
NEVER, PAD = -1, 0


def random_smollm2() -> PreTrainedModel:
    """The shape of SmolLM2-135M with random weights."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=49152, hidden_size=576, num_hidden_layers=30, num_attention_heads=9,
        num_key_value_heads=3, intermediate_size=1536, max_position_embeddings=8192,
        tie_word_embeddings=True,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval()


def make_prompts(
    vocabulary: int, problems: int, group: int, length: int, shared: float
) -> list[list[int]]:
    """Random prompts; those of a problem begin with the same `shared` part."""
    rng, common = np.random.default_rng(0), round(length * shared)
    prompts = []
    for _ in range(problems):
        first = rng.integers(3, vocabulary, common).tolist()
        rest = [rng.integers(3, vocabulary, length - common).tolist() for _ in range(group)]
        prompts += [first + own for own in rest]
    return prompts


Run = Callable[[], int]


def generate(
    model: PreTrainedModel, prompts: Sequence[list[int]], rows: int, d: Decoding, stops: list[int]
) -> int:
    """All prompts with `transformers.generate`, `rows` of them at a time; the tokens sampled."""
    ends = {"eos_token_id": stops} if stops else {"min_new_tokens": d.max_new_tokens}
    sampled = 0
    for start in range(0, len(prompts), rows):
        ids = torch.tensor(prompts[start : start + rows])
        out = model.generate(  # pyright: ignore[reportCallIssue] (of every causal model)
            input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=True, top_k=0,
            temperature=d.temperature, top_p=d.top_p, pad_token_id=PAD,
            max_new_tokens=d.max_new_tokens, **ends,
        )[:, ids.shape[1] :]  # fmt: skip
        ended_before = torch.isin(out, torch.tensor(stops or [NEVER])).cumsum(1).roll(1, 1)
        ended_before[:, 0] = 0
        sampled += int((ended_before == 0).sum())
    return sampled


def engine_run(engine: TransformersEngine, prompts: Sequence[list[int]], decoding: Decoding) -> int:
    """The same with ours."""
    requests = [Request(str(n), ids, n) for n, ids in enumerate(prompts)]
    return sum(len(done.token_ids) for done in engine.generate(requests, decoding))


def measure(runs: dict[str, Run], repeats: int) -> dict[str, tuple[float, float]]:
    """Of each run, the best rate and the peak memory of the process after it in MiB."""
    best: dict[str, tuple[float, float]] = {}
    for _ in range(repeats):
        for name, run in runs.items():
            started = time.process_time()
            rate = run() / (time.process_time() - started)
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            best[name] = (max(rate, best.get(name, (0.0, 0.0))[0]), peak)
    return best


def main(
    shape: Annotated[str, typer.Option(help="smollm2: random weights of that shape")] = "",
    model_folder: Annotated[Path, typer.Option("--model")] = ROOT / "models" / "base",
    engines: Annotated[str, typer.Option(help="in this order")] = "generate,before,after",
    repeats: int = 1,
    problems: int = 16,
    group: int = 8,
    prompt: Annotated[int, typer.Option(help="tokens of a prompt")] = 300,
    shared: Annotated[float, typer.Option(help="share of it, of reflections")] = 0.6,
    new: int = 64,
    top_p: float = 1.0,
    batch: Annotated[int, typer.Option(help="batch_tokens of the engine")] = 32768,
    rows: Annotated[int, typer.Option(help="rows of generate")] = 64,
    workloads: str = "samples,single,reflections,stops",
) -> None:
    """Print a Markdown table."""
    torch.set_num_threads(1)
    model = random_smollm2() if shape == "smollm2" else load_weights(model_folder, "cpu")
    decoding, vocabulary = Decoding(1.0, top_p, new), model.config.vocab_size
    share = {"samples": 1.0, "stops": 1.0, "reflections": shared, "single": 0.0}
    print("| workload | engine | tokens per CPU second | ratio | peak MiB |\n" + "| --- " * 5 + "|")
    for workload in workloads.split(","):
        prompts = make_prompts(vocabulary, problems, group, prompt, share[workload])
        stops = list(range(2, vocabulary, max(new // 2, 1))) if workload == "stops" else []
        ours = {
            name: TransformersEngine(
                model, stops or [NEVER], PAD, batch, fast=name != "before",
                autocast="bfloat16" if name == "bfloat16" else "none",
            )
            for name in ("before", "after", "bfloat16")
        }  # fmt: skip
        runs: dict[str, Run] = {
            "generate": partial(generate, model, prompts, rows, decoding, stops)
        }
        for name, engine in ours.items():
            runs[name] = partial(engine_run, engine, prompts, decoding)
        found = measure({name: runs[name] for name in engines.split(",")}, repeats)
        first = next(iter(found.values()))[0]
        for name, (rate, peak) in found.items():
            print(f"| {workload} | {name} | {rate:.1f} | {rate / first:.2f} | {peak:.0f} |",
                  flush=True)  # fmt: skip


if __name__ == "__main__":
    typer.run(main)
