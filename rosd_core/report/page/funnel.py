"""The funnel of an iteration: from rollouts to rows that are trained on, with the reason for every
loss.
"""

from typing import Any

import polars as pl

from rosd_core.report.page.outcomes import STEPS

# what remains after each step, in the words of the page
AFTER = {
    "reflect": "reflected on",
    "parse": "reflection readable",
    "locate": "quote found",
    "select": "supervised",
    "score": "trained on",
}


def funnel(rows: pl.DataFrame, kind: str) -> list[dict[str, Any]]:
    """The bars of the rollouts of a kind (`wrong`, `correct`), from a frame of `outcomes`.

    Each bar: `label`, the `rows` that remain, and `lost`: the reasons of what was lost since the
    bar before, most frequent first. So `rows` and all of `lost` together are the bar before. A step
    about reflections is left out where nothing was lost there and no teacher reads an idea.
    """
    own = rows.filter(pl.col("kind") == kind)
    with_ideas = own["context"].is_in(["idea", "critique"]).any()
    bars, left = [{"step": None, "label": kind, "rows": own.height, "lost": []}], own
    for step in STEPS:
        lost = left.filter(pl.col("step").eq_missing(step))
        left = left.filter(pl.col("step").ne_missing(step))
        if lost.is_empty() and step in STEPS[:3] and not (with_ideas and kind == "wrong"):
            continue
        label = "has a peer" if step == "reflect" and not with_ideas else AFTER[step]
        bars.append({"step": step, "label": label, "rows": left.height, "lost": _reasons(lost)})
    return bars


def _reasons(lost: pl.DataFrame) -> list[dict[str, Any]]:
    counted = lost.group_by("reason").len("rows").sort(["rows", "reason"], descending=[True, False])
    return counted.to_dicts()


def found_quotes(rows: pl.DataFrame) -> list[dict[str, Any]]:
    """How the first quotes of wrong rollouts were found, most frequent first: `match`, `rows`."""
    found = rows.filter((pl.col("kind") == "wrong") & pl.col("match").is_not_null())
    counted = found.group_by("match").len("rows")
    return counted.sort(["rows", "match"], descending=[True, False]).to_dicts()


def tokens(rows: pl.DataFrame) -> dict[str, int]:
    """Tokens of wrong and of correct responses, and how many of them are supervised."""
    sums = {}
    for kind in ("wrong", "correct"):
        own = rows.filter(pl.col("kind") == kind)
        sums[kind] = int(own["tokens"].sum() or 0)
        sums[f"{kind}_supervised"] = int(own["supervised"].sum() or 0)
    return sums
