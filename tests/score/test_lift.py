"""The lift of a teacher, with numbers by hand."""

import polars as pl
import pytest

from rosd_core.errors import RosdError
from rosd_core.score.lift import check_lift, drop_negative, lift_metrics, lift_policy, read_gains


def lift(correct, wrong):
    """From gains; the n-th correct and the n-th wrong rollout are of problem n."""
    rows = [
        {"problem_id": f"p{n}", "kind": kind, "gain": gain}
        for kind, gains in (("correct", correct), ("wrong", wrong))
        for n, gain in enumerate(gains)
    ]
    return lift_metrics(pl.DataFrame(rows, schema=["problem_id", "kind", "gain"]), 0.95)


def test_gains_are_means_over_supervised_tokens(tmp_path):
    scores = tmp_path / "scores.parquet"
    pl.DataFrame(
        {
            "rollout_id": ["p/0", "p/1", "p/2"],
            "problem_id": ["p"] * 3,
            "kind": ["correct", "wrong", "correct"],
            "student_logp": [[-1.0, -1.0], [-1.0], []],
            "teacher_logp": [[-1.5, -0.7], [-3.0], []],  # the last row has no teacher
        }
    ).write_parquet(scores)
    found = read_gains(scores)
    assert found["kind"].to_list() == ["correct", "wrong"]
    assert found["gain"].to_list() == pytest.approx([-0.1, -2.0])


def test_the_lift_is_the_difference_of_the_mean_gains():
    found = lift(correct=[-0.2, 0.0], wrong=[-1.0, -1.0])
    assert (found["correct_rows"], found["wrong_rows"]) == (2, 2)
    assert found["correct_gain"] == pytest.approx(-0.1)
    assert found["lift"] == pytest.approx(0.9)
    assert check_lift(found, "stop") is None  # correct responses lose too, but less


def test_problems_are_resampled_with_all_their_rollouts():
    """Within each problem the lift is 1, between problems gains differ widely: no width."""
    found = lift(correct=[1.0, 101.0, -50.0], wrong=[0.0, 100.0, -51.0])
    assert (found["lift_low"], found["lift_high"]) == pytest.approx((1, 1))


def test_a_teacher_that_prefers_wrong_responses_stops_the_run():
    found = lift(correct=[-0.1] * 4, wrong=[0.12] * 4)
    assert found["lift"] == pytest.approx(-0.22)
    with pytest.raises(RosdError, match=r"lift is -0\.220 nats .*score\.lift: warn"):
        check_lift(found, "stop")
    assert "seems worse than the student" in (check_lift(found, "warn") or "")
    assert check_lift(found, "off") is None


def test_a_negative_lift_stops_even_within_noise():
    found = lift(correct=[-2.0, 1.0, -2.0, 1.0], wrong=[-0.4] * 4)
    assert found["lift"] == pytest.approx(-0.1)
    assert (found["lift_high"] or 0) > 0
    with pytest.raises(RosdError, match="seems worse than the student"):
        check_lift(found, "stop")


def test_without_one_of_the_kinds_there_is_no_lift():
    for found in (lift([0.0], []), lift([], [1.0]), lift([], [])):
        assert found["lift"] is None
        assert check_lift(found, "stop") is None


def test_an_anchor_has_no_lift_to_check():
    """It reads what the student reads: rounding decides the sign."""
    assert lift_policy(["plain", None, "plain"], "stop") == "off"
    assert lift_policy(["plain", "idea", None], "stop") == "stop"
    assert lift_policy(["idea"], "warn") == "warn"


def test_rows_whose_own_idea_makes_the_error_likelier_are_marked():
    def row(kind, student, teacher, status="scored"):
        return {"kind": kind, "student_logp": student, "teacher_logp": teacher, "status": status}

    rows = [
        row("wrong", [-2.0, -1.0], [-1.0, -1.5]),  # gain (1 - 0.5) / 2 > 0
        row("wrong", [-1.0, -1.0], [-0.5, -2.0]),  # gain (0.5 - 1) / 2 < 0
        row("correct", [-1.0], [-2.0]),
        row("wrong", [], [], "too_long"),
    ]
    drop_negative(rows)  # pyright: ignore[reportArgumentType] (parts of rows)
    assert [r["status"] for r in rows] == ["negative_lift", "scored", "scored", "too_long"]


def test_a_teacher_that_solves_less_stops_the_run():
    found = lift(correct=[0.0] * 4, wrong=[-0.5] * 4)
    accuracy = {"teacher_samples": 20, "teacher_accuracy": 0.1, "student_accuracy": 0.45}
    worse = found | accuracy | {"accuracy_difference_high": -0.2}
    said = "10% of its 20 answers are right, of the student's .* 45%"
    with pytest.raises(RosdError, match=said):
        check_lift(worse, "stop")
    assert check_lift(worse | {"accuracy_difference_high": 0.1}, "stop") is None
