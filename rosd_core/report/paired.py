"""Means over seeds with their intervals, and paired differences to a baseline."""

from collections.abc import Callable, Sequence

import polars as pl

from rosd_core.resampling import bootstrap_interval

Interval = Callable[[Sequence[float]], tuple[float, float, float]]


def over_seeds(confidence: float, resamples: int) -> Interval:
    """(mean, low, high) of one value per seed."""
    return lambda values: bootstrap_interval(values, confidence, resamples, 0)


def paired_difference(
    values: pl.DataFrame, arm: str, baseline: str, interval: Interval
) -> tuple[float, float, float] | None:
    """Mean over seeds of the difference between two arms *at the same seed*, with its interval;
    None where they share no seed. `values`: arm, seed, value.
    """
    pairs = values.filter(arm=arm).join(values.filter(arm=baseline), "seed", maintain_order="left")
    if not len(pairs):
        return None
    return interval((pairs["value"] - pairs["value_right"]).to_list())


def mean_cell(values: Sequence[float], interval: Interval, bold: bool = False) -> str:
    """`mean [low, high]`, or the value alone where there is but one seed."""
    if not len(values):
        return ""
    mean, low, high = interval(values)
    text = f"**{mean:.1f}**" if bold else f"{mean:.1f}"
    return text if len(values) == 1 else f"{text} [{low:.1f}, {high:.1f}]"


def difference_cell(difference: tuple[float, float, float] | None) -> str:
    """`+mean [low, high]`; empty for None."""
    if difference is None:
        return ""
    return "{:+.1f} [{:+.1f}, {:+.1f}]".format(*difference)


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
