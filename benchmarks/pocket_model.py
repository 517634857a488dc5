"""How well the shipped pocket model reflects, and how much an idea helps it, on new problems.

python benchmarks/pocket_model.py [--problems 300]
"""

import sys
from pathlib import Path
from random import Random

import torch
import typer

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from rosd_core.config.load import load_params
from rosd_core.config.prompts import FIELDS
from rosd_core.pocket.oracle import praise, wrong_solution
from rosd_core.pocket.world import make_problem
from rosd_core.prompts.chat import decode, encode_chat
from rosd_core.prompts.templates import Messages, Prompts
from rosd_core.reflect.parse import parse_reflection
from rosd_core.sampling.engine import Decoding, EngineSettings, Request, open_engine

ROOT = Path(__file__).resolve().parent.parent
GREEDY, SAMPLED = Decoding(0.0, 1.0, 96), Decoding(1.0, 1.0, 64)


def main(problems: int = 300, threads: int = 1) -> None:
    torch.set_num_threads(threads)
    params = load_params(ROOT / "params.yaml")
    prompts = Prompts(params.prompts.only(*FIELDS))
    settings = EngineSettings("transformers", "cpu", 32768)
    engine, tokenizer = open_engine(settings, ROOT / "models" / "base")

    def answers(chats: list[Messages], decoding: Decoding) -> list[str]:
        requests = [Request(str(n), encode_chat(tokenizer, c), n) for n, c in enumerate(chats)]
        return [decode(tokenizer, c.token_ids) for c in engine.generate(requests, decoding)]

    drawn = [make_problem(2024, "chain", "benchmark", n) for n in range(problems)]
    pairs = [(p, p.program) for p in drawn if p.program is not None]
    assert params.bootstrap is not None  # the shipped params have it
    forget = params.bootstrap.forget
    wrong = [
        (p, wrong_solution(program, Random(n), forget, 0.0)) for n, (p, program) in enumerate(pairs)
    ]
    wrong = [(p, w) for p, w in wrong if w is not None]
    chats = [prompts.reflect_wrong(p.prompt, p.answer, p.solution, w.text) for p, w in wrong]
    read = [parse_reflection(text, "wrong", "stop") for text in answers(chats, GREEDY)]
    quotes = sum(r.quotes == (w.quote,) for r, (_, w) in zip(read, wrong, strict=True))
    ideas = sum(r.idea == w.idea for r, (_, w) in zip(read, wrong, strict=True))
    print(f"wrong solutions: {len(wrong)}; true first error quoted: {quotes}; right idea: {ideas}")
    plain = answers([prompts.plain(p.prompt) for p, _ in pairs], SAMPLED)
    hints = [prompts.with_idea(p.prompt, praise(program)[0]) for p, program in pairs]
    for name, texts in (("plain prompt", plain), ("with the idea", answers(hints, SAMPLED))):
        right = sum(text == p.solution for text, (p, _) in zip(texts, pairs, strict=True))
        print(f"accuracy at temperature 1, {name}: {100 * right / len(pairs):.1f} %")


if __name__ == "__main__":
    typer.run(main)
