from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rosd_core.pocket.oracle import corrective_idea, first_error, wrong_solution
from rosd_core.pocket.world import (
    ARITHMETIC,
    DOMAINS,
    Program,
    calculate,
    make_problem,
    misconception,
    prose,
    solve,
)

RATES = {"carry": 0.5, "borrow": 0.5, "regroup": 0.5}


@pytest.mark.parametrize(
    ("op", "a", "b", "true", "wrong"),
    [
        ("+", 37, 25, 62, 52),  # 7+5=12: the ten is lost
        ("+", 32, 25, 57, None),  # 2+5=7: no ten
        ("-", 62, 18, 44, 54),  # 2<8: a ten is lent and not paid back
        ("-", 68, 12, 56, None),
        ("*", 26, 3, 78, 68),  # 6*3=18: one ten lost
        ("*", 19, 4, 76, 46),  # 9*4=36: three tens lost
        ("*", 12, 4, 48, None),
        ("~", 37, 25, 52, None),  # dials: 3+2 and 7+5 without a carry
    ],
)
def test_values_and_misconceptions(op, a, b, true, wrong):
    assert calculate(op, a, b) == true
    assert misconception(op, a, b) == wrong


def test_first_error_is_the_first_line_that_departs():
    solution = "37+25=62\n62-18=44\nAnswer: 44"
    wrong = "37+25=62\n62-18=54\nAnswer: 54"
    # lines of 8, 8 and 10 characters and newlines: they are [0, 8), [9, 17) and [18, 28)
    assert first_error(wrong, solution) == (9, 17)
    assert first_error(solution, solution) is None
    assert first_error("37+25=62", solution) == (8, 8)  # stops early
    assert first_error(solution + "\n1+1=2", solution) == (29, 34)  # goes on too long


def test_corrective_idea_names_the_rule_or_the_value():
    assert corrective_idea("37+25=52") == ("In 37+25 the ones pass ten, so carry.", "carry")
    assert corrective_idea("37+25=60") == ("37+25 is 62.", None)


def test_solve_forgets_what_it_is_told_to():
    program = Program(37, (("+", 25), ("-", 18)))
    always = {"carry": 1.0, "borrow": 1.0}
    # 37+25: carry forgotten, 52. 52-18: 2<8, borrow not paid back, 34+10 = 44
    assert solve(program, Random(0), always) == "37+25=52\n52-18=44\nAnswer: 44"
    sure = solve(program, Random(0), always, frozenset({"carry"}))
    assert sure == "37+25=62\n62-18=54\nAnswer: 54"


@given(st.integers(0, 10**6), st.sampled_from(DOMAINS), st.integers(0, 10**6))
def test_a_row_depends_on_its_name_alone_and_stays_in_range(seed, domain, index):
    problem = make_problem(seed, domain, "train", index)
    assert problem == make_problem(seed, domain, "train", index)
    assert problem.solution.endswith(f"Answer: {problem.answer}")
    assert 0 <= int(problem.answer) <= 99
    if problem.program is not None:
        every_slip = solve(problem.program, Random(0), dict.fromkeys(RATES, 1.0))
        assert 0 <= int(every_slip.rsplit(" ", 1)[1]) <= 99


def test_a_perfect_reflector_checks_line_by_line_up_to_the_first_error():
    program = Program(12, (("+", 3), ("+", 25), ("-", 6)))
    wrong = wrong_solution(program, Random(1), {"carry": 1.0, "borrow": 1.0}, 0.0)
    assert wrong is not None
    assert wrong.text == "12+3=15\n15+25=30\n30-6=34\nAnswer: 34"
    assert wrong.check == "12+3=15 15\n15+25=40 30\n"
    assert wrong.quote == "15+25=30"


def test_references_are_the_same_solution_in_prose():
    assert prose("37+25=62\n62-18=44\nAnswer: 44") == (
        "First 37 plus 25 is 62. Then 62 minus 18 is 44.\nAnswer: 44"
    )
    problem = make_problem(3, "story", "train", 5)
    assert problem.reference == prose(problem.solution)
    dials = make_problem(3, "dials", "train", 5)
    assert dials.reference == dials.solution  # a skill without references


@given(st.integers(0, 10**6), st.sampled_from(ARITHMETIC), st.floats(0, 1))
def test_the_quote_of_a_wrong_solution_is_its_first_error(seed, domain, slip_rate):
    problem = make_problem(seed, domain, "train", 0)
    assert problem.program is not None
    wrong = wrong_solution(problem.program, Random(seed), RATES, slip_rate)
    if wrong is not None:
        span = first_error(wrong.text, problem.solution)
        assert span is not None
        assert wrong.text[slice(*span)] == wrong.quote
        *agreed, last = wrong.check.splitlines()
        right, seen = last.split(" ")
        assert wrong.quote == right.partition("=")[0] + "=" + seen
        assert right.partition("=")[2] != seen
        assert all(line.partition("=")[2].split(" ")[0] == line.split(" ")[1] for line in agreed)
