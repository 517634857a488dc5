"""A study's results as numbers: accuracy per run and iteration, and the arms that are compared.

A run that failed has no accuracy after the iteration that failed; the tables count such runs.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from rosd_core.config.study import Select, label

IN, OUT = "in domain", "out of domain"


@dataclass(frozen=True)
class Domains:
    """What the domains of a study are for: trained on, out of domain, or to choose by."""

    trained: Sequence[str]
    out: Sequence[str]
    chosen_by: str | None

    @property
    def reported(self) -> list[str]:
        return [IN, OUT, *self.trained, *self.out]


def study_domains(domains: Mapping[str, Any], select: Select | None) -> Domains:
    """From `params.prepare.domains` of the study's arms."""
    chosen_by = select.domain if select else None
    trained = [name for name, domain in domains.items() if domain.train != 0]
    out = [d for d in domains if d not in trained and d != chosen_by]
    return Domains(trained, out, chosen_by)


def numbered(results: pl.DataFrame) -> pl.DataFrame:
    """Results with the column `number`: 0 of base, n of iteration in."""
    number = pl.col("iteration").str.strip_prefix("i").cast(pl.Int32, strict=False).fill_null(0)
    return results.with_columns(number.alias("number"))


def accuracies(results: pl.DataFrame, domains: Domains) -> pl.DataFrame:
    """mean@k in percent: columns arm, seed, number, domain, value. In and out of domain are means
    over domains, so that all of them count alike.
    """
    names = pl.col("quantity").str.extract(r"^evaluate\.(.+)\.mean$").alias("domain")
    rows = (
        numbered(results)
        .with_columns(names)
        .filter(pl.col("domain").is_not_null())
        .select("arm", "seed", "number", "domain", (pl.col("value") * 100).alias("value"))
    )
    means = [
        rows.filter(pl.col("domain").is_in(list(members)))
        .group_by("arm", "seed", "number", maintain_order=True)
        .agg(pl.lit(name).alias("domain"), pl.col("value").mean())
        for name, members in ((IN, domains.trained), (OUT, domains.out))
    ]
    return pl.concat([*means, rows])


def last_values(values: pl.DataFrame, results: pl.DataFrame) -> pl.DataFrame:
    """The rows of each run's last iteration. A run that failed has none."""
    failed = results.filter(quantity="failed").select("arm", "seed").unique()
    last = pl.col("number") == pl.col("number").max().over("arm")
    return values.filter(last).join(failed, ["arm", "seed"], "anti", maintain_order="left")


def collapses(values: pl.DataFrame, points: float = 10.0) -> pl.DataFrame:
    """Runs whose last accuracy is lower than the best before by more than `points`: arm, seed,
    best, last. `values` are accuracies of one domain.
    """
    runs = values.sort("number").group_by("arm", "seed", maintain_order=True)
    frame = runs.agg(pl.col("value").max().alias("best"), pl.col("value").last().alias("last"))
    return frame.filter(pl.col("best") - pl.col("last") > points)


def points_of(results: pl.DataFrame) -> dict[str, dict[str, Any]]:
    """arm -> its values per axis."""
    heads = results.select("arm", "point").unique("arm", maintain_order=True)
    return {arm: json.loads(point) for arm, point in heads.iter_rows()}


def rest(point: Mapping[str, Any], axis: str | None) -> str:
    """The label of a point without an axis: arms of one such label compete."""
    return label({name: value for name, value in point.items() if name != axis})


def chosen_arms(
    points: Mapping[str, Mapping[str, Any]], last: pl.DataFrame, select: Select | None
) -> dict[str, str]:
    """label without the selected axis -> the arm with the best mean accuracy on the domain to
    choose by, over the seeds that all its competitors have. Without `select`, every arm.
    """
    if select is None:
        return {arm: arm for arm in points}
    found: dict[str, list[str]] = {}
    for arm, point in points.items():
        if select.axis in point:
            found.setdefault(rest(point, select.axis), []).append(arm)
    scores = last.filter(domain=select.domain)
    chosen = {}
    for name, arms in found.items():
        mine = scores.filter(pl.col("arm").is_in(arms))
        whole = pl.len().over("seed") == mine["arm"].n_unique()
        means = mine.filter(whole).group_by("arm", maintain_order=True).agg(pl.col("value").mean())
        if len(means):
            chosen[name] = str(means.sort("value", descending=True, maintain_order=True)["arm"][0])
    return chosen


def baseline_of(
    arm: str,
    points: Mapping[str, Mapping[str, Any]],
    baseline: Mapping[str, Any],
    chosen: Mapping[str, str],
    axis: str | None,
) -> str | None:
    """The arm that an arm is compared with: the chosen one of the same values but the baseline's.
    None where there is none, and for the baseline itself.
    """
    wanted = rest({**points[arm], **baseline}, axis)
    found = chosen.get(wanted)
    return None if found == arm else found
