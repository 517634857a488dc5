"""A study's results as Markdown tables and one frame of numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from rosd_core.config.study import Study, label
from rosd_core.report.paired import (
    Interval,
    difference_cell,
    markdown,
    mean_cell,
    paired_difference,
)
from rosd_core.report.study import (
    IN,
    OUT,
    Domains,
    accuracies,
    baseline_of,
    chosen_arms,
    collapses,
    last_values,
    numbered,
    points_of,
    rest,
)


@dataclass(frozen=True)
class Outcome:
    """What the tables and figures show. `chosen`: label without the selected axis -> arm."""

    results: pl.DataFrame  # numbered
    values: pl.DataFrame  # accuracies
    last: pl.DataFrame  # those after the last iteration
    points: Mapping[str, Mapping[str, Any]]
    chosen: Mapping[str, str]
    domains: Domains
    axis: str | None

    def of(self, arm: str, domain: str) -> list[float]:
        """An arm's last accuracies, one per seed."""
        return self.last.filter(arm=arm, domain=domain)["value"].to_list()

    def quantity(self, arm: str, name: str) -> list[float]:
        """An arm's last values of a quantity, one per seed."""
        rows = self.results.filter(arm=arm, quantity=name)
        return last_values(rows, self.results)["value"].to_list()

    def seconds(self, arm: str) -> list[float]:
        """Seconds of all stages but evaluate, one per seed."""
        rows = self.results.filter(
            pl.col("arm") == arm, pl.col("quantity").str.starts_with("seconds.")
        )
        return (
            rows.group_by("seed", maintain_order=True).agg(pl.col("value").sum())["value"].to_list()
        )


def outcome(study: Study, results: pl.DataFrame, domains: Domains) -> Outcome:
    values, points = accuracies(results, domains), points_of(results)
    last = last_values(values, results)
    axis = study.select.axis if study.select else None
    chosen = chosen_arms(points, last, study.select)
    return Outcome(numbered(results), values, last, points, chosen, domains, axis)


def study_markdown(study: Study, found: Outcome, interval: Interval, samples: int) -> str:
    """All tables of a study."""
    seeds = found.results["seed"].n_unique()
    best = f", each at its best {found.axis}" if found.axis else ""
    parts = [
        (f"mean@{samples} in percent after the last iteration{best}; {seeds} seeds", _means),
        (f"Difference to {label(study.baseline)} at the same seed, in points", _differences),
        ("Other quantities of the same arms after the last iteration", _others),
    ]
    text = [f"# {study.title}\n"]
    for title, build in parts:
        head, rows = build(study, found, interval)
        text.append(f"{title}\n\n{markdown(head, rows)}")
    if found.axis:
        for domain in (IN, OUT):
            head, rows = _grid(found, found.axis, domain, interval)
            text.append(f"{domain}, by {found.axis}\n\n{markdown(head, rows)}")
    text.append(_trouble(found))
    return "\n".join(text)


def _lead(found: Outcome) -> list[str]:
    return ["arm", *([found.axis] if found.axis else [])]


def _row(found: Outcome, name: str, arm: str) -> list[str]:
    value = [f"{found.points[arm][found.axis]:g}"] if found.axis else []
    return [name, *value]


def _means(study: Study, found: Outcome, interval: Interval) -> tuple[list[str], list[list[str]]]:
    shown = found.domains.reported
    rows = [
        [*_row(found, name, arm), *(mean_cell(found.of(arm, d), interval) for d in shown)]
        for name, arm in found.chosen.items()
    ]
    arms = next(iter(found.chosen.values()), None)
    if arms is not None:
        base = found.values.filter(number=0)
        cells = [
            mean_cell(base.filter(arm=arms, domain=d)["value"].to_list(), interval) for d in shown
        ]
        rows.insert(0, ["base", *([""] if found.axis else []), *cells])
    return [*_lead(found), *shown], rows


def _differences(
    study: Study, found: Outcome, interval: Interval
) -> tuple[list[str], list[list[str]]]:
    shown, rows = found.domains.reported, []
    for name, arm in found.chosen.items():
        other = baseline_of(arm, found.points, study.baseline, found.chosen, found.axis)
        if other is None:
            continue
        cells = [
            difference_cell(
                paired_difference(found.last.filter(domain=domain), arm, other, interval)
            )
            for domain in shown
        ]
        rows.append([*_row(found, name, arm), *cells])
    return [*_lead(found), *shown], rows


def _others(study: Study, found: Outcome, interval: Interval) -> tuple[list[str], list[list[str]]]:
    domain, k = found.domains.trained[0], max(_ks(found, found.domains.trained[0]), default=1)
    named = {
        f"pass@{k} {domain} %": (f"evaluate.{domain}.pass@{k}", 100),
        "response tokens": (f"evaluate.{domain}.response_tokens", 1),
        "cut off %": (f"evaluate.{domain}.cut_off_share", 100),
        "openings changed %": (f"opening_shift.{domain}", 100),
        "supervised %": ("align.supervised_token_share", 100),
    }
    rows = []
    for name, arm in found.chosen.items():
        cells = [
            mean_cell([factor * v for v in found.quantity(arm, quantity)], interval)
            for quantity, factor in named.values()
        ]
        rows.append([*_row(found, name, arm), *cells, mean_cell(found.seconds(arm), interval)])
    return [*_lead(found), *named, "seconds, all iterations"], rows


def _ks(found: Outcome, domain: str) -> list[int]:
    prefix = f"evaluate.{domain}.pass@"
    names = found.results["quantity"].unique()
    return [int(name.removeprefix(prefix)) for name in names if name.startswith(prefix)]


@dataclass(frozen=True)
class Grid:
    """The arms by their values of the selected axis: a row per combination of the other values."""

    names: Sequence[str]
    values: Sequence[Any]
    arms: Mapping[tuple[str, Any], str]


def grid_of(found: Outcome, axis: str) -> Grid:
    arms = {
        (rest(point, axis), point[axis]): arm
        for arm, point in found.points.items()
        if axis in point
    }
    names = list(dict.fromkeys(name for name, _ in arms))
    return Grid(names, sorted({value for _, value in arms}), arms)


def _grid(
    found: Outcome, axis: str, domain: str, interval: Interval
) -> tuple[list[str], list[list[str]]]:
    grid = grid_of(found, axis)
    rows = []
    for name in grid.names:
        row = [name]
        for value in grid.values:
            arm = grid.arms.get((name, value), "")
            row.append(mean_cell(found.of(arm, domain), interval, found.chosen.get(name) == arm))
        rows.append(row)
    return ["arm", *(f"{value:g}" for value in grid.values)], rows


def _trouble(found: Outcome) -> str:
    """Runs that failed or collapsed, a line each."""
    failed = found.results.filter(quantity="failed")
    lines = [
        f"* {row['arm']}, seed {row['seed']}: stopped in {row['iteration']}: {row['note']}"
        for row in failed.iter_rows(named=True)
    ]
    for row in collapses(found.values.filter(domain=IN)).iter_rows(named=True):
        text = f"* {row['arm']}, seed {row['seed']}: collapsed in domain, {row['best']:.0f} -> "
        lines.append(text + f"{row['last']:.0f}")
    title = "Runs that failed, or ended more than 10 points below their best iteration"
    return f"{title}\n\n" + ("\n".join(lines) or "none") + "\n"
