"""What a plan is made for. Params travel whole here, unlike elsewhere: a plan is about them."""

from dataclasses import dataclass

from rosd_core.config.params import Params
from rosd_core.plan.hardware import Hardware
from rosd_core.plan.layout import Training
from rosd_core.plan.model_shape import ModelShape
from rosd_core.plan.workload import Workload


@dataclass(frozen=True)
class Case:
    """A model, params, their workload, how the training lies in memory, and the hardware."""

    shape: ModelShape
    params: Params
    load: Workload
    training: Training
    hardware: Hardware

    @property
    def forks(self) -> bool:
        """Whether `rosd repro` forks the stages there: a GPU may be one that params do not name."""
        return self.hardware.device == "cpu" and self.params.forks
