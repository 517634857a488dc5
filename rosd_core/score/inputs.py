"""What the teacher reads: its prompt, and the very same response tokens as the student."""

from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from rosd_core.errors import RosdError
from rosd_core.prompts.fit import FittedPrompt, PromptBuilder
from rosd_core.score.contexts import READS_PEER, KnownRow, teacher_prompt
from rosd_core.tables.hashing import fingerprint
from rosd_core.tables.io import join_rows, read_table
from rosd_core.tables.lookup import RowReader
from rosd_core.tables.references import check_alignment
from rosd_core.tables.row_types import ScoreInput

STATUS_COLUMNS = [
    "rollout_id", "problem_id", "kind", "teacher_context", "status", "skip_reason",
]  # fmt: skip

# what helps where most rows are skipped for a reason
HINTS = {
    "no_success": "No group has a correct response: take easier problems, or raise "
    "rollout.group_size or rollout.max_new_tokens; see rollouts.answer_format, too. If the data "
    "have solutions, see reflect.no_success and align.no_peer.",
    "not_in_file": "The table reflect.file has no row for these rollouts.",
    "disabled": "Reflections are off: set reflect.enabled, or another align.teacher_context.",
    "no_idea": "Read raw in reflections.parquet, and change prompts.reflect_wrong.",
    "no_quote": "Read raw in reflections.parquet, and change prompts.reflect_wrong or set "
    "reflect.contract.",
    "truncated": "Reflections end too early: raise reflect.max_new_tokens.",
    "quote_not_found": "Set reflect.contract or align.quote_not_found, or lower "
    "align.fuzzy_threshold.",
    "first_quote_not_found": "Reflections quote several places, the first of them inexactly: set "
    "reflect.contract or align.quote_not_found.",
    "lone_success": "No group has two correct responses: raise rollout.group_size, or "
    "see align.no_peer.",
    "no_feedback": "The grader's feedback teaches wrong responses alone: take harder problems, or "
    "align.teacher_context feedback_peer.",
    "no_contrast": "All responses of a group have the same reward, or all succeed, or none: raise "
    "rollout.group_size.",
    "no_token": "See align.skip_thinking and align.skip_first.",
    "wrong": "See align.wrong.",
    "correct": "See align.correct.",
    "all_success": "Every response is correct: take harder problems, or see align.all_success.",
}


def supervised_ids(alignments: pl.DataFrame, file: Path) -> list[str]:
    """The rollouts that are supervised, from STATUS_COLUMNS. Raises RosdError, naming the counts of
    all skip reasons and what to do about the most frequent one, where there is none.
    """
    ids = alignments.filter(status="supervised")["rollout_id"].to_list()
    if not ids:
        counts = Counter(alignments["skip_reason"].drop_nulls().to_list()).most_common()
        reasons = ", ".join(f"{count} {reason}" for reason, count in counts)
        hint = HINTS.get(counts[0][0], "") if counts else ""
        raise RosdError(f"{file}: none of {len(alignments)} rows is supervised: {reasons}. {hint}")
    return ids


def refuse_other_student(rollouts: Path, student: Path) -> None:
    """Raises RosdError where the rollouts were sampled by other weights than those in `student`."""
    sampled = read_table("rollouts", rollouts, ["model"])["model"].unique().to_list()
    own = fingerprint(student)
    if others := sorted(set(sampled) - {own}):
        raise RosdError(
            f"{rollouts}: sampled by the weights {others[0]}, but those in {student} are "
            f"{own}; run `rosd rollout` and what follows again."
        )


# what is read of the tables, beside all of alignments
ROLLOUT = ["rollout_id", "prompt_ids", "shortened", "response_ids", "response", "feedback",
           "behaviour_logp", "student_logp"]  # fmt: skip
REFLECTION = ["rollout_id", "idea", "peer_id"]
PEER = ["rollout_id", "response"]

Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class InputReader:
    """Reads rows of the tables `alignments`, `rollouts` and `reflections`, named in `files`."""

    problems: pl.DataFrame
    files: Mapping[str, Path]
    builder: PromptBuilder

    @cached_property
    def problem(self) -> dict[str, dict[str, Any]]:
        """The problems by their ids."""
        return {row["problem_id"]: row for row in self.problems.iter_rows(named=True)}

    @cached_property
    def tables(self) -> dict[str, RowReader]:
        """A reader of each table."""
        return {name: RowReader(name, file) for name, file in self.files.items()}

    def plain_prompt(self, rollout_id: str, problem: Mapping[str, Any]) -> FittedPrompt:
        """What the teacher reads of a problem without any context."""
        build, template = self.builder.build, self.builder.prompts.plain
        return build(template, rollout_id, problem["system"], problem=problem["prompt"])

    def read(self, ids: Sequence[str]) -> list[ScoreInput]:
        """What the teacher reads for these rollouts. Memory holds their rows alone."""
        alignments = self.tables["alignments"].read(ids)
        rollouts = self.tables["rollouts"].read(ids, ROLLOUT)
        reflections = self.tables["reflections"].read(ids, REFLECTION)
        for alignment, rollout in join_rows(alignments, rollouts):
            check_alignment(alignment, rollout, self.files["alignments"])
        beside = {a["rollout_id"] for a in alignments if a["teacher_context"] in READS_PEER}
        peer_ids = [r["peer_id"] for r in reflections if r["rollout_id"] in beside]
        peers = self.tables["rollouts"].read(peer_ids, PEER)
        return score_inputs(self.problem, alignments, rollouts, reflections, peers, self.builder)


def score_inputs(
    problems: Mapping[str, Mapping[str, Any]],
    alignments: Rows,
    rollouts: Rows,
    reflections: Rows,
    peers: Rows,
    builder: PromptBuilder,
) -> list[ScoreInput]:
    """One input per supervised alignment. `problems` are by their ids; `peers` hold the responses
    that serve as demonstrations.
    """
    reflected = {row["rollout_id"]: row for row in reflections}
    response = {row["rollout_id"]: row["response"] for row in peers}
    supervised = [row for row in alignments if row["status"] == "supervised"]
    inputs: list[ScoreInput] = []
    for alignment, rollout in join_rows(supervised, rollouts):
        reflection = reflected[alignment["rollout_id"]]
        peer = response.get(reflection["peer_id"])
        problem, positions = problems[alignment["problem_id"]], alignment["positions"]
        known = KnownRow(alignment, rollout, reflection, problem, peer)
        prompt, at = teacher_prompt(known, builder), np.asarray(positions, dtype=np.intp)
        inputs.append(
            {
                "rollout_id": alignment["rollout_id"],
                "problem_id": alignment["problem_id"],
                "kind": alignment["kind"],
                "policy": alignment["policy"],
                "prompt_ids": rollout["prompt_ids"],
                "teacher_prompt_ids": array("i", prompt.ids),
                "shortened": prompt.shortened,
                "response_ids": rollout["response_ids"],
                "positions": positions,
                "weight": alignment["weight"],
                "behaviour_logp": np.asarray(rollout["behaviour_logp"], np.float32)[at],
                "student_logp": np.asarray(rollout["student_logp"], np.float32)[at],
            }
        )
    return inputs
