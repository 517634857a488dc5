"""Tokens per second of the CPU engine and of `transformers.generate`, same prompts, one run.

    python benchmarks/engine.py [--threads 1] [--repeats 3]

Both sample at temperature 1 until the end token or 64 tokens; the ratio is what counts, seconds
depend on the machine. The best of the repeats is taken: a shared machine only ever adds time.
"""

import time
from pathlib import Path
from typing import Annotated

import torch
import typer

from rosd_core.pocket.world import make_problem
from rosd_core.prompts.chat import encode_chat
from rosd_core.sampling.engine import Decoding, Request, open_engine

ROOT = Path(__file__).resolve().parent.parent


def main(
    threads: Annotated[int, typer.Option()] = 1,
    repeats: Annotated[int, typer.Option()] = 3,
    problems: Annotated[int, typer.Option()] = 32,
    group: Annotated[int, typer.Option()] = 8,
) -> None:
    torch.set_num_threads(threads)
    engine, tokenizer = open_engine("transformers", ROOT / "models" / "base", "cpu", 256)
    prompts = [
        encode_chat(
            tokenizer, [{"role": "user", "content": make_problem(5, "chain", "test", n).prompt}]
        )
        for n in range(problems)
    ]
    requests = [
        Request(f"{n}/{g}", p, 1000 * n + g) for n, p in enumerate(prompts) for g in range(group)
    ]
    model = engine.model  # pyright: ignore[reportAttributeAccessIssue] (of the CPU engine)

    def ours() -> int:
        return sum(len(c.token_ids) for c in engine.generate(requests, Decoding(1.0, 1.0, 64)))

    def theirs(batch: int) -> int:
        tokens, rows = 0, [p for p in prompts for _ in range(group)]
        for start in range(0, len(rows), batch):
            padded = tokenizer.pad(
                {"input_ids": rows[start : start + batch]}, padding_side="left", return_tensors="pt"
            )
            out = model.generate(
                **padded,
                do_sample=True,
                max_new_tokens=64,
                top_k=0,
                pad_token_id=tokenizer.pad_token_id,
            )
            new = out[:, padded["input_ids"].shape[1] :]
            tokens += int((new != tokenizer.pad_token_id).sum())
        return tokens

    runs = {
        "ours": ours,
        "generate, batch 64": lambda: theirs(64),
        "generate, batch 256": lambda: theirs(256),
    }
    best: dict[str, float] = {}
    for _ in range(repeats):
        for name, run in runs.items():
            started = time.perf_counter()
            best[name] = max(best.get(name, 0.0), run() / (time.perf_counter() - started))
    for name, rate in best.items():
        print(f"{name:<20} {rate:8.0f} tokens/s   x{rate / best['generate, batch 64']:.2f}")


if __name__ == "__main__":
    typer.run(main)
