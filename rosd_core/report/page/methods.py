"""The studies of a project as charts: the last accuracy of each arm, in and out of domain."""

from typing import Any

from rosd_core.report.paired import Interval
from rosd_core.report.study import IN, OUT
from rosd_core.report.study_tables import Outcome


def study_chart(title: str, found: Outcome, interval: Interval) -> dict[str, Any]:
    """`title`, and `points`: of each compared arm and each of in and out of domain the mean over
    seeds in percent with its interval, and the number of seeds. Arms come in the order of the
    study, those without any finished run are left out.
    """
    points = []
    for name, arm in found.chosen.items():
        for place in (IN, OUT):
            values = found.of(arm, place)
            if values:
                mean, low, high = interval(values)
                points.append(
                    {"arm": name, "setting": arm, "place": place, "seeds": len(values)}
                    | {"mean": mean, "low": low, "high": high}
                )
    return {"title": title, "points": points}
