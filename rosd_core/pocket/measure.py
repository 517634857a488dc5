"""What a model in training can do, on held-out problems, by teacher forcing alone: reflections, and
whether an idea helps.

Of a problem for which a wrong attempt was drawn, both prompts, with its idea and without, are
followed by the attempt up to its wrong step and by the right step. With r the tokens of the right
result there, x the prompt and y all of the reply before r:

    idea_gain       = mean over all r of log p(r | x with idea, y) - log p(r | x, y)
    right_with_idea = mean over problems of p(result | x with idea, y)
    right_without   = the same without the idea

in nats per token, and as the probability that an answer sampled at temperature 1 takes this step
rightly.

Dimension names: N learnt token, H hidden, V vocabulary.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

import torch

from rosd_core.pocket.course import HELD_OUT, Course
from rosd_core.pocket.encoding import RESULT, Encoded, Learnt, encode, encode_learnt
from rosd_core.pocket.oracle import wrong_solution
from rosd_core.pocket.world import ARITHMETIC, make_problem

# of rows, per row: the log-probability of each learnt token, and whether each is the likeliest
Reader = Callable[[Sequence[Encoded]], list[tuple[torch.Tensor, torch.Tensor]]]


@dataclass(frozen=True)
class Exam:
    """Held-out rows: conversations by skill, and ideas: each without it and with it."""

    conversations: dict[str, list[Encoded]]
    without_idea: list[Encoded]
    with_idea: list[Encoded]


def idea_pairs(course: Course, count: int) -> list[tuple[Learnt, Learnt]]:
    """The right step at the first error of `count` wrong attempts that forgot a rule, without the
    idea that names this rule and with it; learnt are the digits of its result.
    """
    lesson, prompts, pairs, index = course.parts[-1].lesson, course.prompts, [], 0
    while len(pairs) < count:
        domain = ARITHMETIC[index % len(ARITHMETIC)]
        problem = make_problem(course.seed, domain, "ideas", HELD_OUT + index)
        index += 1
        assert problem.program is not None
        rng = Random(f"{course.seed}/ideas/{index}")
        wrong = wrong_solution(problem.program, rng, lesson.forget, 0.0, lesson.weak_digits)
        if wrong is None or wrong.rule is None:
            continue
        number = wrong.check.count("\n")  # lines up to the wrong one, which it includes
        reply = "\n".join(problem.solution.split("\n")[:number])
        span = list(RESULT.finditer(reply))[-1].span(1)
        plain = prompts.plain(problem.prompt), reply, [span]
        pairs.append((plain, (prompts.with_idea(problem.prompt, wrong.idea), reply, [span])))
    return pairs


def set_exam(course: Course, count: int, tokenizer, end: int) -> Exam:
    """`count` conversations of the course's last part, and as many ideas."""
    rows = course.held_out(count)
    by_skill: dict[str, list[Encoded]] = {}
    for row, encoded in zip(rows, encode(rows, tokenizer, end), strict=True):
        by_skill.setdefault(row.skill, []).append(encoded)
    pairs = idea_pairs(course, count)
    without, given = (encode_learnt([p[n] for p in pairs], tokenizer, end) for n in (0, 1))
    return Exam(dict(sorted(by_skill.items())), without, given)


def measure(exam: Exam, read: Reader) -> dict[str, float]:
    """`exact_<skill>`: the share of replies that are the greedy continuation of their prompt; and
    idea_gain, right_with_idea, right_without.
    """
    exact = {
        f"exact_{skill}": _mean([float(right_N.all()) for _, right_N in read(rows)])
        for skill, rows in exam.conversations.items()
    }
    without, given = (
        [logp_N for logp_N, _ in read(r)] for r in (exam.without_idea, exam.with_idea)
    )
    return exact | {
        "idea_gain": (torch.cat(given).mean() - torch.cat(without).mean()).item(),
        "right_with_idea": _mean([logp_N.sum().exp().item() for logp_N in given]),
        "right_without": _mean([logp_N.sum().exp().item() for logp_N in without]),
    }


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
