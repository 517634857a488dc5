"""parity: whether the rollouts of an iteration are those of its student: for `rosd parity`, and on
a few rows for the stage score.

in  iterations/<iteration>/rollouts.parquet, models/<start>
"""

from rosd_core.config.params import Params
from rosd_core.forward.teachers import load_mix
from rosd_core.models.loading import load_tokenizer, low_precision
from rosd_core.prompts.chat import pad_id
from rosd_core.score.inputs import refuse_other_student
from rosd_core.score.parity import parity, refuse_disparity
from stages.paths import Paths, start_of


def check(params: Params, paths: Paths, iteration: str, rows: int) -> dict[str, float | int]:
    """The parity of `rows` rollouts; nothing for 0, and nothing where no engine sampled them
    (`rollout.file`). Raises RosdError where other weights sampled, or where the engine's
    log-probabilities are too far from those of the training forward pass.
    """
    start, r = paths.model_folder(start_of(params, iteration)), params.rollout
    rollouts = paths.table("rollouts", iteration)
    refuse_other_student(rollouts, start)
    if rows == 0 or r.file is not None:
        return {}
    student = load_mix([(start, 1.0)], params.machine.device, pad_id(load_tokenizer(start)))
    with low_precision(params.machine.device, params.score.autocast):
        metrics = parity(rollouts, rows, student, r.temperature, r.top_p)
    refuse_disparity(metrics, params.engine.parity.bound)
    return metrics
