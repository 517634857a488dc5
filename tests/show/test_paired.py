"""Two evaluations compared, by hand."""

import polars as pl
import pytest

from rosd_core.show.paired import changes, largest_changes, paired, sign_test
from rosd_core.tables.io import write_table
from rosd_core.tables.origin import Origin
from stages.paths import Paths
from tests.support import command, refused


def samples(right: dict[str, list[int]]) -> pl.DataFrame:
    """Evaluation samples; the domain is the first part of a problem's id."""
    rows = [
        {"domain": name.split("-")[0], "problem_id": name, "success": bool(one)}
        for name, ones in right.items()
        for one in ones
    ]
    return pl.DataFrame(rows)


BEFORE = {"a-1": [0, 0], "a-2": [1, 1], "a-3": [0, 1], "a-4": [0, 0], "b-1": [1, 1], "b-2": [0, 0]}
AFTER = {"a-1": [1, 1], "a-2": [1, 0], "a-3": [0, 0], "a-4": [0, 1], "b-1": [1, 1], "c-1": [1, 1]}


def test_changes_by_hand():
    pairs = paired(samples(BEFORE), samples(AFTER))
    assert pairs["problem_id"].to_list() == ["a-1", "a-2", "a-3", "a-4", "b-1"]
    assert pairs["change"].to_list() == [1.0, -0.5, -0.5, 0.5, 0.0]
    a, b = changes(pairs, 0.95, 200, 0)
    # half of the samples is right: a-1 and a-4 turn right, a-3 (1/2 -> 0/2) turns wrong, a-2
    # (2/2 -> 1/2) stays right
    assert (a.domain, a.problems, a.gained, a.lost) == ("a", 4, 2, 1)
    assert (a.rose, a.fell) == (2, 2)
    assert (a.before, a.after, a.difference) == (3 / 8, 4 / 8, 1 / 8)
    assert a.low <= 1 / 8 <= a.high
    assert -0.5 <= a.low < 0 < a.high <= 1
    assert a.p == 1.0  # 2 (C(4,0) + C(4,1) + C(4,2)) / 16 > 1
    assert (b.problems, b.difference, b.low, b.high, b.p) == (1, 0, 0, 0, 1)


@pytest.mark.parametrize(
    ("one", "other", "p"),
    [(0, 0, 1.0), (5, 0, 2 / 32), (0, 6, 2 / 64), (1, 3, 2 * (1 + 4) / 16), (2, 2, 1.0)],
)
def test_the_sign_test_by_hand(one, other, p):
    assert sign_test(one, other) == pytest.approx(p)
    assert sign_test(other, one) == sign_test(one, other)


def test_the_sign_test_of_many_problems():
    """300 of 1000 are z = 400 / sqrt(1000) = 12.6 deviations off: p is about exp(-z^2 / 2) = 2e-35,
    over z. 2^2000 is no float.
    """
    assert 1e-38 < sign_test(300, 700) < 2e-35
    assert sign_test(1000, 1000) == 1.0


def test_the_largest_changes_each_way():
    pairs = paired(samples(BEFORE), samples(AFTER))
    rose, fell = largest_changes(pairs, 1)
    assert [row["problem_id"] for row in rose] == ["a-1"]
    assert [row["problem_id"] for row in fell] == ["a-2"]  # as much as a-3, and before it
    assert len(largest_changes(pairs, 9)[1]) == 2


def write_evaluation(project, key: str, right: dict[str, list[int]], **params) -> None:
    rows = [
        {
            "iteration": key, "sample": n, "shortened": None, "response": "", "parsed_answer": None,
            "reward": float(ones[n]), "response_tokens": 1, "finish_reason": "stop",
            "domain": name.split("-")[0], "problem_id": name, "success": bool(ones[n]),
        }
        for name, ones in right.items()
        for n in range(len(ones))
    ]  # fmt: skip
    origin = Origin("evaluate", key, params, {})
    write_table("evaluation", rows, Paths(project).evaluation(key), origin=origin)


def test_the_command(project, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    write_evaluation(project, "base", BEFORE, **{"evaluate.samples": 2})
    write_evaluation(project, "i1", AFTER, **{"evaluate.samples": 4})
    code, said = command(project, "diff", "base", "i1", "--changes", "1")
    assert code == 0
    assert ["a", "4", "37.5", "50.0", "+12.5"] in [line.split()[:5] for line in said.splitlines()]
    assert "1 problems of base are left out" in said
    assert "evaluate.samples was 2 for base and 4 for i1." in said
    assert "rose most, 1 of 2\n  a-1  0/2 -> 2/2\n" in said
    assert "fell most, 1 of 2\n  a-2  2/2 -> 1/2\n" in said


def test_what_cannot_be_compared(project):
    assert "'i9' has no evaluation; there are: base, i1." in refused(project, "diff", "base", "i9")
    assert "name two different" in refused(project, "diff", "i1", "i1")
    assert "base.parquet: no such table" in refused(project, "diff", "base", "i1")
    write_evaluation(project, "base", {"a-1": [1]})
    write_evaluation(project, "i1", {"a-2": [1]})
    assert "share no problem" in refused(project, "diff", "base", "i1")


def test_ids_from_elsewhere_cannot_leave_the_project(project):
    assert "'../../i1' has no evaluation" in refused(project, "diff", "base", "../../i1")
