"""parity: the log-probabilities of an iteration's rollouts against the training forward pass. The
stage score makes the same check on a few rows.

in  iterations/<iteration>/rollouts.parquet, models/<start>
"""

from rosd_core.config.params import Params
from rosd_core.errors import RosdError
from rosd_core.forward.teachers import load_mix
from rosd_core.models.loading import load_tokenizer, low_precision
from rosd_core.prompts.chat import pad_id
from rosd_core.score.inputs import refuse_other_student
from rosd_core.score.parity import parity, refuse_disparity
from stages.paths import Paths, set_threads, start_of


def check(
    params: Params, paths: Paths, iteration: str, rows: int
) -> tuple[dict[str, float | int], float]:
    """The metrics of `rows` rollouts, and the bound that they keep. Raises RosdError where they do
    not keep it.
    """
    if rows < 1:
        raise RosdError("--rows: at least 1.")
    start, r = paths.model_folder(start_of(params, iteration)), params.rollout
    set_threads(params.machine.threads)
    rollouts = paths.table("rollouts", iteration)
    refuse_other_student(rollouts, start)
    pad = pad_id(load_tokenizer(start))
    student = load_mix([(start, 1.0)], params.machine.device, pad)
    with low_precision(params.machine.device, params.score.autocast):
        metrics = parity(rollouts, rows, student, r.temperature, r.top_p)
    refuse_disparity(metrics, params.engine.parity.bound)
    return metrics, params.engine.parity.bound
