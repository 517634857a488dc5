"""The rows of the tables as Python sees them; `schemas` says what each column means.

A test compares names and types with the schemas. Lists of numbers may be arrays: `to_rows` reads
integers as `array`s, floats as numpy arrays, and lists of lists as (N, K) ones.
"""

from collections.abc import Sequence
from typing import Any, TypedDict

import numpy as np

Floats = Sequence[float] | np.ndarray
IntMatrix = Sequence[Sequence[int]] | np.ndarray
FloatMatrix = Sequence[Sequence[float]] | np.ndarray


class ProblemRow(TypedDict):
    problem_id: str
    domain: str
    task: str
    split: str
    system: str | None
    prompt: str
    answer: str
    solution: str | None
    grader: str
    grader_data: str | None


class RolloutRow(TypedDict):
    rollout_id: str
    problem_id: str
    sample: int
    prompt_ids: Sequence[int]
    shortened: str | None
    response_ids: Sequence[int]
    response: str
    behaviour_logp: Floats
    student_logp: Floats
    finish_reason: str
    reward: float
    success: bool
    parsed_answer: str | None
    answer_format: str
    feedback: str
    seed: int
    model: str


class Message(TypedDict):
    role: str
    content: str


class ReflectionRow(TypedDict):
    rollout_id: str
    problem_id: str
    kind: str
    peer_id: str | None
    messages: Sequence[Message] | None
    shortened: str | None
    raw: str | None
    idea: str | None
    quotes: Sequence[str] | None
    status: str
    repairs: Sequence[str] | None
    attempts: int
    answer_tokens: int
    skip_reason: str | None
    model: str | None


class QuotePlace(TypedDict):
    quote: str
    match: str
    candidates: int
    char_start: int | None
    char_end: int | None


class AlignmentRow(TypedDict):
    rollout_id: str
    problem_id: str
    kind: str
    teacher_context: str | None
    quotes: Sequence[QuotePlace] | None
    quotes_cut: int
    positions: Sequence[int]
    first_token: int | None
    response_tokens: int
    weight: float | None
    policy: str
    status: str
    skip_reason: str | None


class ScoreInput(TypedDict):
    """The columns of a score row that are known before a model is run."""

    rollout_id: str
    problem_id: str
    kind: str
    policy: str
    prompt_ids: Sequence[int]
    teacher_prompt_ids: Sequence[int]
    shortened: str | None
    response_ids: Sequence[int]
    positions: Sequence[int]
    behaviour_logp: Floats
    weight: float
    student_logp: Floats


class ScoreRow(ScoreInput):
    teacher_logp: Floats
    support_ids: IntMatrix
    support_logp: FloatMatrix
    tail_logp: Floats
    divergence: Floats
    student_entropy: Floats
    student_top_ids: IntMatrix
    student_top_logp: FloatMatrix
    teacher_top_ids: IntMatrix
    teacher_top_logp: FloatMatrix
    teacher_hidden: bytes | None
    idea_gain: float | None
    support: str
    status: str
    teacher: str | None


class EvaluationRow(TypedDict):
    iteration: str
    problem_id: str
    domain: str
    sample: int
    shortened: str | None
    response: str
    parsed_answer: str | None
    reward: float
    success: bool
    response_tokens: int
    finish_reason: str


class StudyRow(TypedDict):
    arm: str
    point: str
    seed: int
    weights: str
    settings: str
    iteration: str
    quantity: str
    value: float
    note: str | None


ROW_TYPES: dict[str, Any] = {
    "problems": ProblemRow,
    "rollouts": RolloutRow,
    "reflections": ReflectionRow,
    "alignments": AlignmentRow,
    "scores": ScoreRow,
    "evaluation": EvaluationRow,
    "study": StudyRow,
}
