"""The guards of the stages that can see a collapse: rollout, score and distill."""

import json
import sys
from typing import Any

from rosd_core.config.params import Params
from rosd_core.guards import Guards
from stages.paths import Paths, start_of


def chain(params: Params, iteration: str) -> list[str]:
    """The models that an iteration goes back to, base first; the last is the one it starts from."""
    start = start_of(params, iteration)
    return ["base"] if start == "base" else [*chain(params, start), start]


def distill_guards(params: Params, iteration: str) -> Guards:
    """Of the training of an iteration: where they stop it, the model it started from stands."""
    start, rate = start_of(params, iteration), params.distill.learning_rate
    advice = (
        f"A stop writes nothing of {iteration}; the last good iteration is {start} "
        f"(models/{start}). Lower distill.learning_rate ({rate:g}), for example by a factor of 10, "
        f"and run `dvc repro`, or `rosd distill {iteration}`."
    )
    if params.distill.quantized:
        advice += (
            " At the first step this measures the rounding of the weights to 4 bits "
            "(distill.lora.quantize: nf4), not an update: raise that bound, or set quantize: none."
        )
    return Guards("distill", params.guards.distill.model_dump(), params.guards.action, advice)


def sample_guards(params: Params, stage: str, iteration: str) -> Guards:
    """Of rollout or score, which look at the model that an iteration starts from: their table is
    there, but that model is not to be trusted. For the base model, stop means warn: no training
    has made it what it is.
    """
    start, *earlier = reversed(chain(params, iteration))
    advice = (
        "They are of the base model, so no training did this: look at the prompts, at "
        "rollout.temperature and rollout.max_new_tokens, and at iterations/"
        f"{iteration}/rollouts.parquet."
    )
    if earlier:
        advice = (
            f"They are of models/{start}; the last good iteration is {earlier[0]} "
            f"(models/{earlier[0]}). Train {start} again with a lower distill.learning_rate "
            f"({params.distill.learning_rate:g}), or another loss or teacher, and run `dvc repro`; "
            f"or end the loop at {earlier[0]}."
        )
    bounds = {"rollout": params.guards.rollout, "score": params.guards.score}[stage].model_dump()
    action = "warn" if params.guards.action == "stop" and not earlier else params.guards.action
    return Guards(stage, bounds, action, advice)


def earlier_metrics(
    params: Params, paths: Paths, iteration: str, needed: set[str]
) -> list[dict[str, Any]]:
    """The metrics of rollout of the iterations before, first one first. A file that is missing, or
    that lacks one of the keys `needed`, is named on stderr and left out.
    """
    found = []
    for key in chain(params, iteration)[1:]:
        file = paths.metrics("rollout", key)
        metrics = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        if needed <= metrics.keys():
            found.append(metrics)
        else:
            print(
                f"rosd rollout: {file}: missing, or of an older version: {iteration} is not "
                f"compared with {key}.",
                file=sys.stderr,
            )
    return found
