"""Bytes on disk: tables, models, optimizer states. The bytes of a column were fitted to two models,
one that is sure of its tokens (its log-probabilities compress well) and one that is not.
"""

from rosd_core.config.params import Params
from rosd_core.plan.case import Case
from rosd_core.plan.layout import Training
from rosd_core.plan.model_shape import ModelShape
from rosd_core.plan.work import supervised
from rosd_core.plan.workload import Workload

LOGP, ID, LIKELY_ID, PROMPT_ID, TEXT = 1.9, 1.0, 0.6, 0.3, 0.6  # bytes a token, compressed
PLACE = 0.15  # bytes of a supervised position
SAMPLED, ROW, FILE = 18.0, 9.0, 9_000.0  # ids, seed and enums of a row; the columns' description


def stage_bytes(case: Case) -> dict[str, dict[str, float]]:
    """Stage -> what it writes -> bytes."""
    shape, params, load = case.shape, case.params, case.load
    rollouts, (_, tokens) = load.rollouts, supervised(load)
    answers = rollouts * load.reflected.value
    tests = load.tests.value * load.samples
    sampled = rollouts * load.response.value
    read = rollouts * load.prompt.value
    written = load.answer.value * 2 * TEXT + load.question.value * TEXT / 2
    tables = {
        "rollouts": sampled * (2 * LOGP + ID + TEXT) + PROMPT_ID * read + SAMPLED * rollouts,
        "reflections": answers * written + ROW * rollouts,
        "alignments": PLACE * tokens + ROW * rollouts,
        "scores": score_bytes(shape, params, load),
        "evaluation": tests * (TEXT * load.test_response.value + ROW / 2),
    }
    stages = dict(zip(tables, ("rollout", "reflect", "align", "score", "evaluate"), strict=True))
    found = {stages[name]: {name: FILE + size} for name, size in tables.items()}
    return found | {"distill": model_bytes(shape, params, case.training)}


def score_bytes(shape: ModelShape, params: Params, load: Workload) -> float:
    """The table of scores, without its description."""
    p, (rows, tokens) = params.score, supervised(load)
    read = load.prompt.value + load.teacher.value
    total = rows * (ROW + PROMPT_ID * read + ID * load.response.value) + 2 * LOGP * tokens
    if p.targets == "none" or params.align.teacher_context == "none":
        return total
    of_token = 3 * LOGP + 2 * p.show_top * (LOGP + LIKELY_ID)
    if p.targets == "hidden":
        of_token += 2 * shape.hidden
    else:
        of_token += p.top_k * (2 if p.support == "union" else 1) * (LOGP + LIKELY_ID) + LOGP
    return total + of_token * tokens


def model_bytes(shape: ModelShape, params: Params, training: Training) -> dict[str, float]:
    """A model or its adapter, and the optimizer's state."""
    lora = params.distill.lora
    whole = lora is None or lora.merge
    found = {"model": 4.0 * (shape.parameters if whole else training.trained)}
    found["optimizer"] = (
        0.0 if lora is not None and lora.merge else training.state * training.trained
    )
    if params.score.teacher == "ema":
        found["teacher"] = 4.0 * shape.parameters
    return found
