"""The teacher answers for itself."""

from pathlib import Path

import polars as pl
import pytest

from rosd_core.errors import RosdError
from rosd_core.sampling.engine import Completion, Decoding
from rosd_core.score.teacher_accuracy import rows_to_sample, teacher_accuracy, the_one_folder

DECODING = Decoding(1.0, 1.0, 8)


def test_problem_after_problem_gives_a_supervised_rollout_wrong_ones_first():
    alignments = pl.DataFrame(
        {
            "rollout_id": ["a/0", "a/1", "b/0", "b/1", "c/0", "d/0"],
            "problem_id": ["a", "a", "b", "b", "c", "d"],
            "kind": ["correct", "wrong", "wrong", "correct", "correct", "wrong"],
            "teacher_context": ["idea"] * 4 + ["none", None],
            "status": ["supervised"] * 2 + ["skipped"] + ["supervised"] * 2 + ["skipped"],
        }
    )
    assert sorted(rows_to_sample(alignments, 2, 1)) == ["a/1", "b/1"]
    assert rows_to_sample(alignments, 9, 1)[-1] == "a/0"  # the second of its problem
    assert len(rows_to_sample(alignments, 9, 1)) == 3
    assert {rows_to_sample(alignments, 1, seed)[0] for seed in range(20)} == {"a/1", "b/1"}


def test_a_mix_cannot_be_sampled_from():
    assert the_one_folder([(Path("x"), 1.0)]) == Path("x")
    with pytest.raises(RosdError, match=r"score\.teacher_samples: a teacher that mixes"):
        the_one_folder([(Path("x"), 0.5), (Path("y"), 0.5)])


class Answers:
    """An engine whose answers are given by row."""

    def __init__(self, tokenizer, answers):
        self.tokenizer, self.answers = tokenizer, answers

    def generate(self, requests, decoding):
        assert [r.prompt_ids for r in requests] == [[7, n] for n in range(len(self.answers))]
        ids = [self.tokenizer(self.answers[r.row_id])["input_ids"] for r in requests]
        return [Completion(i, [0.0] * len(i), "stop", [0.0] * len(i)) for i in ids]


def test_accuracies_and_their_difference(tokenizer, tmp_path, monkeypatch):
    names = ["a", "b", "c"]
    graded = {"problem_id": names, "answer": ["1", "2", "3"], "grader": ["exact"] * 3}
    problems = pl.DataFrame(graded)
    rollouts = {"problem_id": ["a", "a", "b", "c"], "success": [True, False, True, False]}
    read = "rosd_core.score.teacher_accuracy.read_table"
    monkeypatch.setattr(read, lambda *_: pl.DataFrame(rollouts))
    known = problems, tmp_path, 0.95
    inputs = [
        {"rollout_id": f"{name}/0", "problem_id": name, "teacher_prompt_ids": [7, n]}
        for n, name in enumerate(names)
    ]
    engine = Answers(tokenizer, {"a/0": "1", "b/0": "3", "c/0": "2"})
    found = teacher_accuracy(inputs, *known, engine, tokenizer, DECODING)  # pyright: ignore
    # the teacher: right, wrong, wrong; the student: a half, 1, 0; the differences: 0.5, -1, 0
    assert found["teacher_accuracy"] == pytest.approx(1 / 3)
    assert found["student_accuracy"] == pytest.approx(0.5)
    assert found["accuracy_difference"] == pytest.approx(-1 / 6)
    low, high = found["accuracy_difference_low"], found["accuracy_difference_high"]
    # all three draws are b, or all are a: 1/27 each, more than 2.5 %
    assert (low, high) == pytest.approx((-1.0, 0.5))
    nothing = teacher_accuracy([], *known, Answers(tokenizer, {}), tokenizer, DECODING)
    assert nothing == {"teacher_samples": 0}
