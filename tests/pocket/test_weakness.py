"""Weak steps: hand-derived rates, today's conversations unchanged, the second world's params."""

import re
from hashlib import sha256
from random import Random

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rosd_core.config.load import load_params
from rosd_core.errors import RosdError
from rosd_core.pocket.lessons import Lesson, draw_conversations
from rosd_core.pocket.mastery import right_before_error, step_rates
from rosd_core.pocket.oracle import corrective_idea, first_error, known_errors, wrong_solution
from rosd_core.pocket.weakness import forget_rate
from rosd_core.pocket.world import RULES, Program, make_problem, misconception, solve
from rosd_core.tables.io import read_table
from tests.support import PROMPTS, ROOT, SMALL, run_stage, write_params

RATES = {"carry": 0.65, "borrow": 0.6, "regroup": 0.5}
ALWAYS = dict.fromkeys(RATES, 1.0)
WEAK = {"carry": [8, 9], "borrow": [8], "regroup": [3]}
EVERY = dict.fromkeys(RATES, range(10))
MASTERED = ROOT / "examples" / "mastered"
SKILLS = ("drill", "solve", "reflect_wrong", "reflect_correct", "with_idea", "with_reference")


@pytest.mark.parametrize(
    ("rule", "operand", "rate"),
    [
        ("carry", 28, 0.65),  # ends in 8: weak
        ("carry", 9, 0.65),
        ("carry", 25, 0.0),  # ends in 5: mastered
        ("borrow", 18, 0.6),
        ("borrow", 19, 0.0),  # 9 is weak for the carry alone
        ("regroup", 3, 0.5),
        ("regroup", 4, 0.0),
    ],
)
def test_a_rule_is_forgotten_at_its_weak_digits_alone(rule, operand, rate):
    assert forget_rate(rule, operand, RATES, WEAK) == rate
    assert forget_rate(rule, operand, RATES, None) == RATES[rule]
    assert forget_rate(rule, operand, {}, WEAK) == 0.0


def test_solve_forgets_at_weak_steps_and_nowhere_else():
    program = Program(37, (("+", 25), ("-", 18), ("+", 9), ("*", 2)))
    # 37+25: 5 is not weak, 62. 62-18: 2<8 and 8 is weak, 34+20 = 54. 54+9: 4+9=13 and 9 is weak,
    # the ten is lost, 53. 53*2: needs no rule, 3*2=6: 106
    text = solve(program, Random(0), ALWAYS, weak_digits=WEAK)
    assert text == "37+25=62\n62-18=54\n54+9=53\n53*2=106\nAnswer: 106"
    # the borrow is named by an idea, so it is sure: 62-18=44. 44+9: 4+9=13, lost: 43
    sure = solve(program, Random(0), ALWAYS, frozenset({"borrow"}), WEAK)
    assert sure == "37+25=62\n62-18=44\n44+9=43\n43*2=86\nAnswer: 86"


def test_steps_and_prefixes_are_known_by_their_rates():
    program = Program(37, (("+", 25), ("-", 18), ("+", 12), ("+", 9)))
    # 37+25=62 carry, mastered; 62-18=44 borrow, weak; 44+12=56 no rule; 56+9=65 carry, weak
    steps = step_rates(program, RATES, WEAK)
    assert steps == [0.0, 0.6, None, 0.65]
    assert step_rates(program, RATES, None) == [0.65, 0.6, None, 0.65]
    right = "37+25=62\n62-18=44\n44+12=56\n56+9=65\nAnswer: 65"
    assert right_before_error(right, right, steps) is None
    # 56+9=55 is the first error: right before it are a mastered step and a lucky one
    assert right_before_error(right.replace("=65", "=55"), right, steps) == [0.0, 0.6]
    # 62-18=54: right before it is the mastered step alone
    assert right_before_error("37+25=62\n62-18=54", right, steps) == [0.0]


@given(st.integers(0, 10**6))
def test_the_first_error_is_at_a_weak_step_and_its_idea_names_the_rule(seed):
    problem = make_problem(seed, "chain", "train", 0)
    assert problem.program is not None
    steps = step_rates(problem.program, RATES, WEAK)
    wrong = wrong_solution(problem.program, Random(seed), ALWAYS, 0.0, WEAK)
    # with a rate of 1 a wrong solution exists exactly where a step is weak
    assert (wrong is None) == (not any(steps))
    if wrong is not None:
        span = first_error(wrong.text, problem.solution)
        assert span is not None
        assert wrong.text[slice(*span)] == wrong.quote
        assert steps[wrong.text[: span[0]].count("\n")]
        assert corrective_idea(wrong.quote) == (wrong.idea, wrong.rule)
        assert wrong.rule is not None
        assert set(right_before_error(wrong.text, problem.solution, steps) or [0.0]) == {0.0}


def conversations(weak_digits, seed):
    domains = {"chain": 0.7, "story": 0.1, "dials": 0.1, "largest": 0.1}
    mix = dict.fromkeys(SKILLS, 1.0)
    lesson = Lesson(mix, domains, RATES, 0.15, True, 0.5, weak_digits)
    return draw_conversations(seed, 0, 40, PROMPTS, lesson)


@settings(max_examples=20)
@given(st.integers(0, 10**6))
def test_every_digit_weak_is_the_world_without_weak_digits(seed):
    assert conversations(EVERY, seed) == conversations(None, seed)


@settings(max_examples=20)
@given(st.integers(0, 10**6))
def test_weak_conversations_are_a_function_of_the_seed(seed):
    assert conversations(WEAK, seed) == conversations(WEAK, seed)


def test_the_shipped_recipe_still_draws_what_its_model_was_trained_on():
    p = load_params(ROOT / "params.yaml").bootstrap
    assert p is not None
    assert p.weak_digits is None
    found = sha256()
    for phase in p.phases.values():
        lesson = Lesson(
            phase.mix, p.domains, p.forget, p.slip_rate, phase.misconceptions, p.imitation, None
        )
        for row in draw_conversations(p.seed, 900, p.rows_per_step, PROMPTS, lesson):
            found.update(repr((row.skill, row.messages, row.reply)).encode())
    # not derived: what the code of the shipped weights drew. Another hash: they are not its model
    assert found.hexdigest() == "818209aa02b37664af9dc3f5b25d18622c498aabd54f51afd432c3329218db2a"


def test_the_second_world_differs_in_its_recipes_alone():
    shipped, second = load_params(ROOT / "params.yaml"), load_params(MASTERED / "params.yaml")
    recipes = {"bootstrap", "finetune"}
    assert shipped.model_dump(exclude=recipes) == second.model_dump(exclude=recipes)
    assert second.finetune is not None
    weak = second.finetune.weak_digits
    assert weak is not None
    assert set(weak.model_dump()) == set(second.finetune.forget)


def test_weak_digits_name_every_rule_and_are_digits(tmp_path):
    for weak, complaint in [
        ({"carry": [8], "borrow": [8]}, "weak_digits.regroup' is missing"),
        ({"carry": [18], "borrow": [8], "regroup": [3]}, r"weak_digits.carry.0 = 18"),
    ]:
        file = write_params(tmp_path, {"bootstrap": {"weak_digits": weak}})
        with pytest.raises(RosdError, match=complaint):
            load_params(file)


@pytest.mark.stage
def test_the_model_of_the_second_world_errs_at_weak_steps_alone(tmp_path):
    """12 problems, 96 rollouts: the first error of each wrong one is at a weak step."""
    write_params(tmp_path, SMALL | {"rollout": {"problems": 12, "group_size": 8}})
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "base").symlink_to(MASTERED / "models" / "base")
    for stage, *key in (["prepare"], ["rollout", "i1"]):
        run_stage(tmp_path, stage, *key)
    recipe = load_params(MASTERED / "params.yaml").finetune
    assert recipe is not None and recipe.weak_digits is not None
    weak = recipe.weak_digits.model_dump()
    problems = read_table("problems", tmp_path / "data" / "problems.parquet").to_dicts()
    rollouts = read_table("rollouts", tmp_path / "iterations" / "i1" / "rollouts.parquet")
    spans = known_errors(problems, rollouts.to_dicts())
    rates = []
    for row in rollouts.filter(pl.col("rollout_id").is_in(list(spans))).to_dicts():
        line = row["response"][slice(*spans[row["rollout_id"]])]
        step = re.fullmatch(r"(\d+)([-+*])(\d+)=(\d+)", line)
        if step is not None and misconception(step[2], int(step[1]), int(step[3])) is not None:
            rates.append(forget_rate(RULES[step[2]], int(step[3]), recipe.forget, weak))
    assert len(rates) > 20
    assert sum(rate > 0 for rate in rates) >= 0.95 * len(rates)
