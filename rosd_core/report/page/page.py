"""The report as one HTML file that loads nothing: styles, scripts, libraries and data are in it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import polars as pl
from jinja2 import Environment, StrictUndefined

from rosd_core.report.page.funnel import found_quotes, funnel, tokens
from rosd_core.report.page.reasons import in_words

LIBRARIES = ("d3.min.js", "plot.min.js")
SCRIPTS = (
    "data.js", "charts.js", "funnel.js", "list.js", "response.js", "detail.js", "main.js",
)  # fmt: skip


@dataclass(frozen=True)
class Content:
    """What the page says. `keys`: base and the iterations; `accuracy`: of `accuracy_points`;
    `training`: of `training_charts`; `studies`: of `study_chart`, each; `rows`: iteration -> frame
    of `outcomes`; `blocks`: of `Page.blocks`; `notes`: what the reader has to know, such as tables
    that are missing.
    """

    title: str
    facts: Sequence[str]
    notes: Sequence[str]
    keys: Sequence[str]
    samples: int
    confidence: float
    accuracy: Sequence[Mapping[str, Any]]
    training: Sequence[Mapping[str, Any]]
    studies: Sequence[Mapping[str, Any]]
    rows: Mapping[str, pl.DataFrame]
    blocks: Mapping[str, str]
    params: str


def render(content: Content) -> str:
    """The page. Equal contents give equal bytes."""
    assets, vendor = files("rosd_core.report.page") / "assets", files("rosd_core.report") / "vendor"
    environment = Environment(autoescape=True, undefined=StrictUndefined)
    template = environment.from_string((assets / "page.html.jinja").read_text("utf-8"))
    charts = {
        "keys": list(content.keys),
        "accuracy": content.accuracy,
        "training": content.training,
        "studies": content.studies,
        "funnels": [_funnels(name, rows) for name, rows in content.rows.items()],
    }
    return template.render(
        vars(content)
        | {
            "style": (assets / "style.css").read_text("utf-8"),
            "scripts": [
                *((vendor / name).read_text("utf-8") for name in LIBRARIES),
                *((assets / name).read_text("utf-8") for name in SCRIPTS),
            ],
            "charts": as_script(charts),
            "accuracy_rows": _accuracy_rows(content),
            **_sign_table(content.training),
        }
    )


def as_script(data: Any) -> str:
    """JSON that can stand in a script element: `<` is escaped, so that no text can end it."""
    return json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def _funnels(iteration: str, rows: pl.DataFrame) -> dict[str, Any]:
    bars = {kind: funnel(rows, kind) for kind in ("wrong", "correct")}
    for lost in (lost for kind in bars.values() for bar in kind for lost in bar["lost"]):
        lost["text"] = in_words(lost["reason"])
    return {"iteration": iteration, **bars, "matches": found_quotes(rows), "tokens": tokens(rows)}


def _accuracy_rows(content: Content) -> list[dict[str, Any]]:
    """A row per domain, a cell per iteration."""
    cells = {(p["domain"], p["iteration"]): p for p in content.accuracy}
    trained = {p["domain"]: p["trained"] for p in content.accuracy}
    return [
        {
            "domain": domain,
            "trained": trained[domain],
            "cells": [_cell(cells[domain, key]) for key in content.keys],
        }
        for domain in trained
    ]


def _cell(point: Mapping[str, Any]) -> str:
    return f"{point['mean']:.1f} [{point['low']:.1f}, {point['high']:.1f}]"


def _sign_table(training: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The charts by iteration as a table: a column per chart."""
    charts = [chart for chart in training if chart["x"] == "iteration"]
    iterations = dict.fromkeys(row["iteration"] for chart in charts for row in chart["rows"])
    values = [{row["iteration"]: row["value"] for row in chart["rows"]} for chart in charts]
    return {
        "sign_names": [f"{chart['name']}, {chart['unit']}" for chart in charts],
        "sign_rows": [
            {
                "iteration": key,
                "cells": [f"{column[key]:.4g}" if key in column else "" for column in values],
            }
            for key in iterations
        ],
    }
