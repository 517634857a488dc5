"""A study's figures: heat maps of accuracy, curves with intervals, how responses begin."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from rosd_core.report.paired import Interval
from rosd_core.report.study import IN, OUT
from rosd_core.report.study_tables import Outcome, grid_of
from rosd_core.tables.atomic import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def new_figure(width: float, height: float) -> "Figure":
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save(figure: "Figure", file: Path) -> None:
    with replacing(file) as temporary:
        figure.savefig(temporary, dpi=150, format="png", metadata={"Software": None})


def heat_map(found: Outcome, axis: str, file: Path) -> None:
    """Mean accuracy after the last iteration for every value of the selected axis. The value chosen
    for a row is set in a frame.
    """
    grid = grid_of(found, axis)
    figure = new_figure(2 + 1.7 * len(grid.values), 1.5 + 0.28 * len(grid.names))
    for axes, domain in zip(figure.subplots(1, 2, sharey=True), (IN, OUT), strict=True):
        means = [[float("nan")] * len(grid.values) for _ in grid.names]
        for (name, value), arm in grid.arms.items():
            if shown := found.of(arm, domain):
                row, column = grid.names.index(name), grid.values.index(value)
                means[row][column] = sum(shown) / len(shown)
                chosen = found.chosen.get(name) == arm
                frame = {"edgecolor": "red", "facecolor": "none"} if chosen else None
                text = f"{means[row][column]:.0f}"
                ink = "white" if means[row][column] > 60 else "black"
                axes.text(
                    column, row, text, color=ink, ha="center", va="center", fontsize=8, bbox=frame
                )
        axes.imshow(means, vmin=0, vmax=100, cmap="YlGn", aspect="auto")
        axes.set_xticks(range(len(grid.values)), [f"{value:g}" for value in grid.values])
        axes.set_yticks(range(len(grid.names)), grid.names, fontsize=8)
        axes.set(title=f"{domain}, mean@k in percent", xlabel=axis)
    save(figure, file)


def _panel(found: Outcome, point: Mapping[str, Any]) -> str:
    """The values of a point other than those of the first axis and of the selected one."""
    return ", ".join(str(v) for name, v in list(point.items())[1:] if name != found.axis)


def panels(found: Outcome) -> dict[str, list[str]]:
    """The chosen arms by their values other than the first axis: one panel each."""
    groups: dict[str, list[str]] = {}
    for arm in found.chosen.values():
        point = found.points[arm]
        groups.setdefault(_panel(found, point), []).append(arm)
    return groups


def curves(found: Outcome, interval: Interval, file: Path) -> None:
    """Accuracy of the chosen arms over iterations: mean over seeds and its interval."""
    groups = panels(found)
    figure = new_figure(4.2 * len(groups), 6.5)
    grid = figure.subplots(2, len(groups), sharey="row", squeeze=False)
    for column, (title, arms) in enumerate(groups.items()):
        for row, domain in enumerate((IN, OUT)):
            axes = grid[row][column]
            for number, arm in enumerate(arms):
                line(axes, found.values.filter(arm=arm, domain=domain), arm, number, interval)
            axes.set(title=f"{title}: {domain}" if title else domain, xlabel="iteration")
            axes.grid(alpha=0.3)
        grid[0][column].legend(fontsize="x-small")
    grid[0][0].set_ylabel("mean@k in percent")
    save(figure, file)


def line(axes: Any, rows: pl.DataFrame, name: str, number: int, interval: Interval) -> None:
    """The mean over seeds per iteration, with its interval as a band. `rows`: number, value."""
    found = [
        (step[0], *interval(group["value"].to_list()))
        for step, group in rows.sort("number").group_by("number", maintain_order=True)
    ]
    if not found:
        return
    steps, mean, low, high = zip(*found, strict=True)
    style = ("-", "--", "-.", ":")[number % 4]
    axes.plot(steps, mean, color=f"C{number % 10}", ls=style, lw=1.6, label=name)
    axes.fill_between(steps, low, high, color=f"C{number % 10}", alpha=0.15, lw=0)


def every_arm(
    found: Outcome, rows: pl.DataFrame, title: str, interval: Interval, file: Path
) -> None:
    """A quantity of all arms over iterations: a column of panels per value of the selected axis, a
    row per combination of the other values but the first axis. `rows`: arm, seed, number, value.
    """
    places: dict[tuple[str, str], list[str]] = {}
    for arm, point in found.points.items():
        axis = found.axis
        value = f"{axis} {point[axis]:g}" if axis is not None and axis in point else ""
        places.setdefault((_panel(found, point), value), []).append(arm)
    names = list(dict.fromkeys(name for name, _ in places))
    values = sorted(
        {value for _, value in places}, key=lambda v: float(v.split()[-1]) if v else 0.0
    )
    figure = new_figure(3.2 * len(values) + 1, 2.4 * len(names) + 0.6)
    grid = figure.subplots(len(names), len(values), sharex=True, sharey=True, squeeze=False)
    for (name, value), arms in places.items():
        axes = grid[names.index(name)][values.index(value)]
        for number, arm in enumerate(arms):
            first = str(next(iter(found.points[arm].values())))
            line(axes, rows.filter(arm=arm), first, number, interval)
        axes.set_title(" | ".join(part for part in (name, value) if part), fontsize="small")
        axes.grid(alpha=0.3)
    grid[0][0].legend(fontsize="x-small")
    figure.supxlabel("iteration")
    figure.supylabel(title)
    save(figure, file)


def all_figures(found: Outcome, interval: Interval, home: Path) -> None:
    """Every figure of a study."""
    if found.axis is not None:
        heat_map(found, found.axis, home / "heat_map.png")
    curves(found, interval, home / "curves.png")
    domain, rows = found.domains.trained[0], found.results
    for title, values, name in (
        ("in domain, mean@k in percent", found.values.filter(domain=IN), "every_arm"),
        ("share of openings that changed", _of(rows, f"opening_shift.{domain}"), "openings"),
        ("response tokens", _of(rows, f"evaluate.{domain}.response_tokens"), "lengths"),
    ):
        every_arm(found, values, title, interval, home / f"{name}.png")


def _of(rows: pl.DataFrame, quantity: str) -> pl.DataFrame:
    return rows.filter(quantity=quantity)
