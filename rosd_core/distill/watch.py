"""What an epoch must not do: run on with a loss that is not finite, without a gradient, or beyond
the bounds of `guards.distill`; or end with weights that are not finite.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import torch

from rosd_core.distill.sharded_files import first_bad
from rosd_core.distill.step_log import StepLog
from rosd_core.errors import RosdError
from rosd_core.guards import Guards


@dataclass
class Watch:
    """The guards of an epoch; `may_rest` is that of the loss, see `LOSSES`. With the action warn
    each epoch warns once.
    """

    guards: Guards
    may_rest: bool
    warned: bool = field(default=False, init=False)

    def step(self, log: StepLog) -> None:
        """Before the weights move. Raises RosdError for a loss or gradient norm that is not finite,
        for a gradient of exactly 0 although not every token is clipped, and (action stop) for a
        value above its bound.
        """
        at = f"step {log.step}, learning rate {log.learning_rate:g}, loss {log.loss:.4g}"
        values = {name: getattr(log, name) for name in self.guards.bounds}
        if not math.isfinite(log.loss + log.grad_norm):
            headline = f"training diverged at {at}, gradient norm {log.grad_norm:g}:"
            raise RosdError(self.guards.report(headline, values))
        self._check(f"training collapsed at {at}:", values)
        if log.grad_norm == 0 and log.clipped_share < 1 and not self.may_rest:
            raise RosdError(
                self.guards.report(
                    f"the gradient is exactly 0 at {at}, with {log.tokens} supervised tokens. "
                    "Either the student puts all probability on single tokens (then it has "
                    "collapsed), or every weight in scores.parquet is 0, or student and teacher "
                    "agree exactly:",
                    values,
                )
            )

    def end(self, values: Mapping[str, float]) -> None:
        """After the last step: the drift of the weights that are about to be written. Raises
        RosdError where it is not a number, and (action stop) above its bound.
        """
        headline = "training collapsed at the last step; its rows under the new weights:"
        if any(math.isnan(value) for value in values.values()):
            raise RosdError(self.guards.report(headline, values))
        self._check(headline, values)

    def _check(self, headline: str, values: Mapping[str, float]) -> None:
        if not self.warned:
            self.warned = self.guards.check(headline, values)

    def refuse_not_finite(self, tensors: Iterable[tuple[str, torch.Tensor]]) -> None:
        """Raises RosdError naming the first of the named tensors with a value that is infinite or
        not a number.
        """
        if bad := first_bad(tensors):
            raise RosdError(
                f"training diverged: after the last step {bad} is infinite or not a number. "
                f"{self.guards.advice}"
            )
