"""How well a pocket model reflects, how much an idea helps it, and where it forgets its rules.

python benchmarks/pocket_model.py [--problems 300] [--project examples/mastered]
"""

import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from random import Random

import torch
import typer

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from rosd_core.config.load import load_params
from rosd_core.config.prompts import FIELDS
from rosd_core.pocket.mastery import step_rates
from rosd_core.pocket.oracle import praise, wrong_solution
from rosd_core.pocket.world import make_problem
from rosd_core.prompts.chat import decode, encode_chat
from rosd_core.prompts.templates import Messages, Prompts
from rosd_core.reflect.parse import parse_reflection
from rosd_core.sampling.engine import Decoding, EngineSettings, Request, open_engine

ROOT = Path(__file__).resolve().parent.parent
GREEDY, SAMPLED = Decoding(0.0, 1.0, 96), Decoding(1.0, 1.0, 64)


def forgotten(solved: Iterable[tuple[str, str, Sequence[float | None]]]) -> None:
    """Print how often a rule is forgotten at weak steps and at mastered ones, up to the first error
    of each (response, solution, rates of its steps).
    """
    steps, errors = Counter[str](), Counter[str]()
    for response, solution, rates in solved:
        pairs = zip(response.split("\n"), solution.split("\n"), rates, strict=False)
        for seen, right, rate in pairs:
            kind = "no rule" if rate is None else "weak" if rate > 0 else "mastered"
            steps[kind] += 1
            errors[kind] += seen != right
            if seen != right:
                break
    for kind, count in sorted(steps.items()):
        print(f"wrong at steps of the kind {kind!r}: {errors[kind]} of {count}")


def main(problems: int = 300, threads: int = 1, project: Path = ROOT) -> None:
    torch.set_num_threads(threads)
    params = load_params(project / "params.yaml")
    prompts = Prompts(params.prompts.only(*FIELDS))
    settings = EngineSettings("transformers", "cpu", 32768)
    engine, tokenizer = open_engine(settings, project / "models" / "base")

    def answers(chats: list[Messages], decoding: Decoding) -> list[str]:
        requests = [Request(str(n), encode_chat(tokenizer, c), n) for n, c in enumerate(chats)]
        return [decode(tokenizer, c.token_ids) for c in engine.generate(requests, decoding)]

    drawn = [make_problem(2024, "chain", "benchmark", n) for n in range(problems)]
    pairs = [(p, p.program) for p in drawn if p.program is not None]
    recipe = params.bootstrap or params.finetune
    assert recipe is not None  # the pocket worlds have one
    forget, digits = recipe.forget, recipe.weak_digits
    weak = None if digits is None else digits.model_dump()
    wrong = [
        (p, wrong_solution(program, Random(n), forget, 0.0, weak))
        for n, (p, program) in enumerate(pairs)
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
    rates = [step_rates(program, forget, weak) for _, program in pairs]
    forgotten((t, p.solution, r) for t, (p, _), r in zip(plain, pairs, rates, strict=True))


if __name__ == "__main__":
    typer.run(main)
