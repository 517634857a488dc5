import copy
import math
from dataclasses import replace

import pytest
import torch

from rosd_core.distill.step_log import StepLog
from rosd_core.distill.targets import Objective
from rosd_core.distill.train import train
from rosd_core.distill.watch import Watch
from rosd_core.errors import RosdError
from rosd_core.guards import FREE, Guards
from tests.distill.test_train import OPTIMIZATION, UNSAVED, rows
from tests.support import LOSS

BOUNDS = {"stale_kl": 1.0, "grad_norm": 50.0}
LOG = StepLog(7, 0.25, 100, 1e-3, 2.0, 1.0, 0.0, 1.5, 0.5)


def watch(action="stop", bounds=BOUNDS, may_rest=False):
    return Watch(Guards("distill", bounds, action, "Last good: i2."), may_rest)


def epoch(model, steps, guard, **optimization):
    settings = replace(OPTIMIZATION, **optimization)
    return train(model, steps, UNSAVED, Objective(LOSS), settings, 0, 0, guard)


def test_a_step_within_its_bounds_passes():
    watch().step(LOG)
    watch().step(replace(LOG, stale_kl=1.0))  # a bound may be reached


@pytest.mark.parametrize("value", [1.5, math.inf, math.nan])
def test_a_step_beyond_a_bound_is_reported_with_all_values(value):
    with pytest.raises(RosdError) as raised:
        watch().step(replace(LOG, stale_kl=value))
    lines = str(raised.value).splitlines()
    assert lines[0] == "training collapsed at step 7, learning rate 0.001, loss 0.25:"
    assert lines[2].split() == ["guards.distill.stale_kl", f"{value:g}", "1", "exceeded"]
    assert lines[3].split() == ["guards.distill.grad_norm", "2", "50"]
    assert lines[-1] == f"Last good: i2. {FREE}"


def test_warn_says_it_once_and_off_never(capsys):
    warning = watch("warn")
    for _ in range(2):
        warning.step(replace(LOG, grad_norm=51.0))
    assert capsys.readouterr().err.count("rosd distill: training collapsed at step 7") == 1
    watch("off").step(replace(LOG, grad_norm=51.0))
    watch(bounds={"grad_norm": None}).step(replace(LOG, grad_norm=51.0))
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("action", ["stop", "warn", "off"])
def test_no_number_and_no_gradient_stop_whatever_the_action(action):
    for bad in ({"loss": math.nan}, {"grad_norm": math.inf}):
        with pytest.raises(RosdError, match="diverged at step 7"):
            watch(action).step(replace(LOG, **bad))
    with pytest.raises(RosdError, match=r"exactly 0 at step 7, .* with 100 supervised tokens"):
        watch(action).step(replace(LOG, grad_norm=0.0))
    watch(action).step(replace(LOG, grad_norm=0.0, clipped_share=1.0))  # as a trust region does
    watch(action, may_rest=True).step(replace(LOG, grad_norm=0.0))


def test_weights_are_checked_after_the_only_step(tiny):
    """The loss of the step is that before it, so it cannot show what the step did."""
    model = copy.deepcopy(tiny)
    with pytest.raises(RosdError, match=r"after the last step \S+ \(\d+ of \d+ values\)"):
        epoch(model, [rows()], watch("off"), learning_rate=1e36, weight_decay=1e3, warmup_steps=0)


def test_state_of_the_optimizer_is_checked():
    tensors = [("weight", torch.zeros(3)), ("exp_avg/weight", torch.tensor([0.0, math.inf]))]
    with pytest.raises(RosdError, match=r"exp_avg/weight \(1 of 2 values\)"):
        watch().refuse_not_finite(tensors)
    watch().refuse_not_finite([("step/weight", torch.tensor(1)), tensors[0]])


def test_the_drift_at_the_end_is_that_of_the_new_weights(tiny):
    """The next epoch's first step reads the same rows with the same weights."""
    model, data = copy.deepcopy(tiny), rows()
    _, drift, _ = epoch(model, [data], watch("off"))
    (again,), _, _ = epoch(model, [data], watch("off"))
    assert drift.stale_kl == pytest.approx(again.stale_kl, rel=1e-5)
    assert drift.largest_ratio == pytest.approx(again.largest_ratio, rel=1e-5)
    assert drift.clipped_share == again.clipped_share
