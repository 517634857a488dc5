"""Tokens per CPU second of the engine and of `transformers.generate`, with the same model and
prompts.

    python benchmarks/engine.py                          # the pocket model
    python benchmarks/engine.py --shape smollm2 --problems 2 --new 48    # minutes

Two workloads: `samples`, where `group` rows of a problem have the same prompt, and `reflections`,
where they share the first part of it. Every row has `new` tokens. The ratio is what counts: seconds
depend on the machine. The best of the repeats is taken. Peak memory is that of the process so far.
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


def generate(model: PreTrainedModel, prompts: Sequence[list[int]], rows: int, d: Decoding) -> None:
    """All prompts with `transformers.generate`, `rows` of them at a time."""
    for start in range(0, len(prompts), rows):
        ids = torch.tensor(prompts[start : start + rows])
        model.generate(  # pyright: ignore[reportCallIssue] (of every causal model)
            input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=True, top_k=0,
            temperature=d.temperature, top_p=d.top_p, pad_token_id=PAD,
            min_new_tokens=d.max_new_tokens, max_new_tokens=d.max_new_tokens,
        )  # fmt: skip


def main(
    shape: Annotated[str, typer.Option(help="smollm2: random weights of that shape")] = "",
    model_folder: Annotated[Path, typer.Option("--model")] = ROOT / "models" / "base",
    repeats: int = 1,
    problems: int = 16,
    group: int = 8,
    prompt: Annotated[int, typer.Option(help="tokens of a prompt")] = 300,
    shared: Annotated[float, typer.Option(help="share of it, of reflections")] = 0.6,
    new: int = 64,
    top_p: float = 1.0,
    batch: Annotated[int, typer.Option(help="batch_tokens of the engine")] = 32768,
    rows: Annotated[int, typer.Option(help="rows of generate; 0: without generate")] = 64,
) -> None:
    """Print a Markdown table."""
    torch.set_num_threads(1)
    model = random_smollm2() if shape == "smollm2" else load_weights(model_folder, "cpu")
    engine = TransformersEngine(model, [NEVER], PAD, batch)
    decoding = Decoding(1.0, top_p, new)
    print("| workload | engine | tokens per CPU second | ratio | peak MiB |\n" + "| --- " * 5 + "|")
    for workload, common in (("samples", 1.0), ("reflections", shared)):
        prompts = make_prompts(model.config.vocab_size, problems, group, prompt, common)
        requests = [Request(str(n), ids, n) for n, ids in enumerate(prompts)]
        runs: dict[str, Callable[[], object]] = {}
        runs["ours"] = partial(engine.generate, requests, decoding)
        if rows:
            runs["generate"] = partial(generate, model, prompts, rows, decoding)
        rates: dict[str, float] = {}
        peaks: dict[str, float] = {}
        for _ in range(repeats):
            for name, run in runs.items():
                started = time.process_time()
                run()
                rate = len(prompts) * new / (time.process_time() - started)
                rates[name] = max(rates.get(name, 0.0), rate)
                peaks[name] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        for name, rate in rates.items():
            print(f"| {workload} | {name} | {rate:.1f} | {rate / list(rates.values())[-1]:.2f} | "
                  f"{peaks[name]:.0f} |", flush=True)  # fmt: skip


if __name__ == "__main__":
    typer.run(main)
