"""What a pocket world gives before any model: accuracy, groups with successes and failures, and how
many right steps before a first error are mastered. Samples the world's own solutions.

python benchmarks/pocket_world.py [params.yaml examples/mastered/params.yaml] [--problems 10000]
"""

import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Annotated, Any

import typer

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from rosd_core.config.load import load_params
from rosd_core.pocket.mastery import right_before_error, step_rates
from rosd_core.pocket.weakness import WeakDigits
from rosd_core.pocket.world import Problem, Program, make_problem, solve

ROOT = Path(__file__).resolve().parent.parent
WORLDS = [ROOT / "params.yaml", ROOT / "examples" / "mastered" / "params.yaml"]


def measure(
    problems: list[tuple[Problem, Program]],
    group: int,
    rates: Mapping[Any, float],
    weak_digits: WeakDigits | None,
) -> Counter[str]:
    """Counts over `group` solutions of each problem; `before` are right steps that need a rule
    before a first error.
    """
    counts: Counter[str] = Counter()
    for n, (problem, program) in enumerate(problems):
        steps, rng, right = step_rates(program, rates, weak_digits), Random(n), 0
        for _ in range(group):
            text = solve(program, rng, rates, weak_digits=weak_digits)
            right += text.rsplit(" ", 1)[1] == problem.answer
            prefix = right_before_error(text, problem.solution, steps)
            counts["wrong"] += prefix is not None
            counts["before"] += len(prefix or [])
            counts["mastered"] += (prefix or []).count(0.0)
        needed = [rate for rate in steps if rate is not None]
        counts["needed"] += len(needed)
        counts["weak"] += len(needed) - needed.count(0.0)
        counts["right"] += right
        counts["mixed"] += 0 < right < group
    return counts


def main(
    params: Annotated[list[Path] | None, typer.Argument()] = None,
    problems: int = 10000,
    group: int = 8,
) -> None:
    drawn = [make_problem(2024, "chain", "benchmark", n) for n in range(problems)]
    pairs = [(p, p.program) for p in drawn if p.program is not None]
    total = len(pairs) * group
    for file in params or WORLDS:
        world = load_params(file)
        p = world.bootstrap or world.finetune
        assert p is not None  # the pocket worlds have a recipe
        c = measure(pairs, group, dict(p.forget), p.weak_digits and p.weak_digits.model_dump())
        print(file)
        print(f"  right answers: {c['right'] / total:.1%}; every step right too: ", end="")
        print(f"{1 - c['wrong'] / total:.1%}")
        print(f"  groups of {group} with successes and failures: {c['mixed'] / len(pairs):.1%}")
        print(f"  weak, of the steps that need a rule: {c['weak'] / c['needed']:.1%}")
        print(f"  mastered, of those right before a first error: {c['mastered'] / c['before']:.1%}")


if __name__ == "__main__":
    typer.run(main)
