import pytest

from rosd_core.graders import answer_line
from rosd_core.world import DOMAINS, make_problem


@pytest.mark.parametrize(
    ("response", "reward", "parsed"),
    [
        ("1+1=2\nAnswer: 2", 1.0, "2"),
        ("Answer: 3\nAnswer: 2", 1.0, "2"),  # the last one counts
        ("Answer: 3", 0.0, "3"),
        ("Answer:2\nbye", 1.0, "2"),
        ("it is 2", 0.0, None),
    ],
)
def test_answer_line(response, reward, parsed):
    verdict = answer_line(response, "2")
    assert (verdict.reward, verdict.parsed) == (reward, parsed)


@pytest.mark.parametrize("domain", DOMAINS)
def test_every_reference_solution_is_right(domain):
    for index in range(50):
        problem = make_problem(1, domain, "test", index)
        assert answer_line(problem.solution, problem.answer).success
