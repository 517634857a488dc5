"""What the pocket model is taught: conversations drawn from the world."""

from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

from rosd_core.pocket.oracle import praise, wrong_solution
from rosd_core.pocket.weakness import WeakDigits
from rosd_core.pocket.world import (
    ARITHMETIC,
    LARGEST_OPERAND,
    Problem,
    calculate,
    in_words,
    make_problem,
    solve,
)
from rosd_core.prompts.templates import Messages, Prompts
from rosd_core.reflect.parse import format_reflection


@dataclass(frozen=True)
class Conversation:
    """One training conversation for a skill. Trained on are the reply's tokens; of a drill, its
    results.
    """

    skill: str
    messages: Messages
    reply: str


@dataclass(frozen=True)
class Lesson:
    """What the conversations of a phase are drawn from: shares of skills and of domains of plain
    problems.

    `forget` holds the misconception rates of wrong solutions; plain solutions show them where
    `misconceptions` is set. `imitation` is the share of solutions beside a reference that are
    written in the reference's style; `weak_digits` says where rules can be forgotten (None:
    everywhere).
    """

    mix: Mapping[Any, float]
    domains: Mapping[str, float]
    forget: Mapping[Any, float]
    slip_rate: float
    misconceptions: bool
    imitation: float
    weak_digits: WeakDigits | None


def _drill(rng: Random, count: int = 16) -> Conversation:
    """Bare calculations, in signs or in words: many facts in few tokens."""
    words = rng.random() < 0.5
    lines = []
    while len(lines) < count:
        op = rng.choices("+-*~", (40, 40, 8, 12))[0]
        a, b = (
            rng.randint(0, 99),
            rng.randint(2, 4) if op == "*" else rng.randint(1, LARGEST_OPERAND),
        )
        if op == "~" and a // 10 + b // 10 > 9:
            continue
        if 0 <= calculate(op, a, b) <= 99:
            line = f"{a}{op}{b}={calculate(op, a, b)}"
            lines.append(f"{in_words(line)}." if words else line)
    return Conversation("drill", [{"role": "user", "content": "Calculate."}], "\n".join(lines))


def make_conversation(
    skill: str, problem: Problem, prompts: Prompts, rng: Random, lesson: Lesson
) -> Conversation:
    """One conversation for a skill, or a plain solution where the skill does not fit."""
    if skill == "drill":
        return _drill(rng)
    program, rates = problem.program, lesson.forget if lesson.misconceptions else {}
    plain = prompts.plain(problem.prompt)
    if program is None or problem.domain not in ARITHMETIC:
        return Conversation("solve", plain, problem.solution)
    weak = lesson.weak_digits
    wrong = wrong_solution(program, rng, lesson.forget, lesson.slip_rate, weak)
    idea, rules = praise(program)
    fields = {"problem": problem.prompt, "gold": problem.answer, "correct": problem.solution}
    if skill == "reflect_correct":
        return Conversation(skill, prompts.reflect_correct(**fields), format_reflection(None, idea))
    if skill == "reflect_wrong" and wrong:
        return Conversation(
            skill,
            prompts.reflect_wrong(**fields, wrong=wrong.text),
            format_reflection(wrong.quote, wrong.idea, wrong.check),
        )
    if skill == "with_solution":
        return Conversation(
            skill, prompts.with_solution(problem.prompt, problem.solution), problem.solution
        )
    if skill == "with_reference":
        reply = problem.reference if rng.random() < lesson.imitation else problem.solution
        return Conversation(skill, prompts.with_solution(problem.prompt, problem.reference), reply)
    if skill == "with_idea":
        if wrong and rng.random() < 0.7:
            idea, rules = wrong.idea, frozenset({wrong.rule} if wrong.rule else set())
        return Conversation(
            skill,
            prompts.with_idea(problem.prompt, idea),
            solve(program, rng, rates, frozenset(rules), weak),
        )
    return Conversation("solve", plain, solve(program, rng, rates, weak_digits=weak))


def draw_conversations(
    seed: int, step: int, count: int, prompts: Prompts, lesson: Lesson
) -> list[Conversation]:
    """The `count` conversations of a training step, a pure function of (seed, step)."""
    rng = Random(f"{seed}/bootstrap/{step}")
    skills = rng.choices(list(lesson.mix), list(lesson.mix.values()), k=count)
    places = rng.choices(list(lesson.domains), list(lesson.domains.values()), k=count)
    rows = []
    for n, (skill, domain) in enumerate(zip(skills, places, strict=True)):
        where = domain if skill == "solve" else rng.choice(ARITHMETIC)
        problem = make_problem(seed, where, "bootstrap", step * count + n)
        rows.append(make_conversation(skill, problem, prompts, rng, lesson))
    return rows
