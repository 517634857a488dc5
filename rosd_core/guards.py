"""Guards: upper bounds on signs of a collapse (`params.yaml: guards`), and the report of one that
is exceeded.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass

from rosd_core.errors import RosdError

FREE = "If this is as it should be, raise the bound (null: no bound), or change guards.action."

Values = Mapping[str, float | None]


@dataclass(frozen=True)
class Guards:
    """The guards of a stage: the bound of each value, None for off; what to do where one is
    exceeded (stop | warn | off); and what the report says after its table: the last good iteration
    and what to do.
    """

    stage: str
    bounds: Values
    action: str
    advice: str

    def measures(self, name: str) -> bool:
        """Whether this value has to be measured."""
        return self.action != "off" and self.bounds[name] is not None

    def exceeded(self, values: Values) -> list[str]:
        """The names of the values that are above their bound, or not a number. A value of None was
        not measured.
        """
        both = ((name, values.get(name), bound) for name, bound in self.bounds.items())
        return [n for n, v, bound in both if v is not None and bound is not None and not v <= bound]

    def report(self, headline: str, values: Values) -> str:
        """The values with their bounds, those that exceed them marked, between the headline and the
        advice.
        """
        high = self.exceeded(values)
        rows = [("guard", "value", "bound", "")]
        for name, bound in self.bounds.items():
            mark = "exceeded" if name in high else ""
            rows.append(
                (f"guards.{self.stage}.{name}", _text(values.get(name)), _text(bound), mark)
            )
        wide = [max(len(row[column]) for row in rows) for column in range(3)]
        lines = [
            "  ".join(cell.ljust(w) for cell, w in zip(row, [*wide, 0], strict=True)).rstrip()
            for row in rows
        ]
        return "\n  ".join([headline, *lines]) + f"\n{self.advice}"

    def check(self, headline: str, values: Values) -> bool:
        """Whether a bound is exceeded, which is said on stderr (warn). Raises RosdError with the
        report (stop).
        """
        if self.action == "off" or not self.exceeded(values):
            return False
        message = f"{self.report(headline, values)} {FREE}"
        if self.action == "stop":
            raise RosdError(message)
        print(f"rosd {self.stage}: {message}", file=sys.stderr)
        return True


def _text(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
