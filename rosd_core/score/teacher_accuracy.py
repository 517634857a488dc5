"""How often the teacher itself solves the problems, beside the student (`score.teacher_samples`).

The lift (see `lift`) needs no sampling, but is indirect. Here the teacher answers some of its own
prompts, as the student did in rollout, and the grader judges. Accuracies are means over problems.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from rosd_core.errors import RosdError
from rosd_core.forward.teachers import Shares
from rosd_core.prompts.chat import decode
from rosd_core.resampling import bootstrap_interval
from rosd_core.rollout.rows import grade, problem_rows
from rosd_core.sampling.engine import Decoding, Engine, Request
from rosd_core.seeds import row_seed
from rosd_core.tables.io import read_table
from rosd_core.tables.row_types import ScoreInput

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

RESAMPLES = 2000
DIFFERENCE = ("accuracy_difference", "accuracy_difference_low", "accuracy_difference_high")


def rows_to_sample(alignments: pl.DataFrame, count: int, seed: int) -> list[str]:
    """The `count` supervised rollouts whose teacher prompt is answered, drawn by the seed. Problem
    after problem gives one, wrong rollouts before correct ones, until there are enough.
    """
    rows = alignments.filter(pl.col("status") == "supervised", pl.col("teacher_context") != "none")
    turns: dict[str, int] = {}
    ranked = []
    for problem, rollout, _ in sorted(
        rows.select("problem_id", "rollout_id", "kind").iter_rows(),
        key=lambda row: (row[2] != "wrong", row_seed(seed, "teacher", row[1])),
    ):
        turns[problem] = turns.get(problem, 0) + 1
        ranked.append((turns[problem], row_seed(seed, "teacher", problem), rollout))
    return [rollout for _, _, rollout in sorted(ranked)[:count]]


def the_one_folder(shares: Shares) -> Path:
    """The folder of a teacher of one set of weights. Raises RosdError for a mix."""
    if len(shares) != 1:
        raise RosdError(
            "score.teacher_samples: a teacher that mixes two models cannot be sampled from; set it "
            "to 0, or another score.teacher."
        )
    return shares[0][0]


def teacher_accuracy(
    inputs: Sequence[ScoreInput],
    problems: pl.DataFrame,
    rollouts: Path,
    confidence: float,
    engine: Engine,
    tokenizer: "PreTrainedTokenizerBase",
    decoding: Decoding,
) -> dict[str, float | int]:
    """Accuracy of teacher and student on the problems of the inputs, and the bootstrap interval of
    the difference over problems. The student's is that of its rollouts on each of them, from the
    table at `rollouts`.
    """
    requests = [
        Request(r["rollout_id"], r["teacher_prompt_ids"], row_seed(0, "teacher", r["rollout_id"]))
        for r in inputs
    ]
    texts = [decode(tokenizer, done.token_ids) for done in engine.generate(requests, decoding)]
    if not inputs:
        return {"teacher_samples": 0}
    names = [row["problem_id"] for row in inputs]
    asked = {row["problem_id"]: row for row in problem_rows(problems)}
    success = read_table("rollouts", rollouts, ["problem_id", "success"])
    student = dict(success.group_by("problem_id").agg(pl.col("success").mean()).iter_rows())
    right = [grade(asked[name], text).success for name, text in zip(names, texts, strict=True)]
    answered: dict[str, list[bool]] = {}
    for name, verdict in zip(names, right, strict=True):
        answered.setdefault(name, []).append(verdict)
    teacher_P = np.array([np.mean(verdicts) for verdicts in answered.values()])
    student_P = np.array([student[name] for name in answered])
    difference = bootstrap_interval(teacher_P - student_P, confidence, RESAMPLES, seed=0)
    return {
        "teacher_samples": len(names),
        "teacher_accuracy": float(teacher_P.mean()),
        "student_accuracy": float(student_P.mean()),
        **dict(zip(DIFFERENCE, difference, strict=True)),
    }
