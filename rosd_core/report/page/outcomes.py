"""What became of each rollout of an iteration: trained on, or lost at one step for one reason.

| step | a rollout is lost there if |
| --- | --- |
| reflect | nothing was reflected on: no correct peer, or reflections are off |
| parse | the reflector's answer could not be read |
| locate | the quote is not in the response |
| select | the params leave it out, or no token is left |
| score | the teacher's targets are missing or rejected |

A rollout that is lost at one step has passed those before it.
"""

from collections.abc import Mapping
from pathlib import Path

import polars as pl

from rosd_core.tables.io import read_table
from rosd_core.tables.keys import KEYS
from rosd_core.tables.parquet import frames

STEPS = ("reflect", "parse", "locate", "select", "score")
_EARLY = {
    "no_success": "reflect",
    "disabled": "reflect",
    "not_in_file": "reflect",
    "no_idea": "parse",
    "no_quote": "parse",
    "truncated": "parse",
    "quote_not_found": "locate",
    "first_quote_not_found": "locate",
}
TRAINED = ("scored", "deferred", "no_teacher")  # values of scores.status that distill trains on
EARLY = 8  # tokens
NOT_YET = "not_yet"  # the table that would say it is not there

# the columns that outcomes need, by table
COLUMNS = {
    "rollouts": ["rollout_id", "problem_id", "sample", "success", "reward"],
    "reflections": ["rollout_id", "status", "skip_reason"],
    "alignments": [
        "rollout_id", "teacher_context", "policy", "status", "skip_reason", "quotes",
        "response_tokens", "positions",
    ],
    "scores": ["rollout_id", "status", "positions", "divergence"],
}  # fmt: skip


def step_of(reason: str) -> str:
    """The step at which a rollout with this `skip_reason` of alignments is lost."""
    return _EARLY.get(reason, "select")


def read_outcomes(files: Mapping[str, Path]) -> pl.DataFrame:
    """The `outcomes` of the tables in these files, whose tokens are read row group by row group."""
    tables = {}
    for table, file in files.items():
        read_table(table, file, KEYS[table])  # which refuses damaged ones
        parts = (_brief(table, part) for part in frames(file, COLUMNS[table]))
        tables[table] = pl.concat(parts)
    return _joined(tables)


def outcomes(tables: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """A row per rollout, in the order of `rollouts`, from the columns `COLUMNS` of the tables that
    are there.

    step, reason     where and why it is lost; both null: it is trained on
    match            how the first quote was found; null: there is none
    supervised       supervised tokens; 0 where it is lost
    divergence       the largest of them, in nats; null where nothing was scored
    early            the largest of the first EARLY ones, which lie in the quote or just behind it
    """
    return _joined({table: _brief(table, frame) for table, frame in tables.items()})


def _brief(table: str, frame: pl.DataFrame) -> pl.DataFrame:
    """Rows of a table without their lists."""
    brief = {"alignments": _aligned, "scores": _scored}
    return brief[table](frame) if table in brief else frame


def _joined(tables: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    rows = tables["rollouts"].with_columns(
        kind=pl.when("success").then(pl.lit("correct")).otherwise(pl.lit("wrong"))
    )
    if "alignments" not in tables:
        step = "select" if "reflections" in tables else "reflect"
        return rows.with_columns(
            step=pl.lit(step),
            reason=pl.lit(NOT_YET),
            **_nulls("match", "policy", "context", dtype=pl.String),
            **_nulls("tokens", "supervised", dtype=pl.Int64),
            **_nulls("divergence", "early", dtype=pl.Float64),
        )
    rows = rows.join(tables["alignments"], on="rollout_id", how="left")
    rows = rows.join(tables.get("scores", NO_SCORES), on="rollout_id", how="left")
    scored = pl.col("score_status")
    missing = pl.lit(NOT_YET) if "scores" not in tables else pl.lit("not_in_scores")
    reason = (
        pl.when(pl.col("align_status") != "supervised")
        .then(pl.col("skip_reason"))
        .when(scored.is_null())
        .then(missing)
        .when(~scored.is_in(TRAINED))
        .then(scored)
    )
    early = pl.col("reason").replace_strict(_EARLY, default="select", return_dtype=pl.String)
    return (
        rows.with_columns(reason=reason)
        .with_columns(
            step=pl.when(pl.col("reason").is_null())
            .then(None)
            .when(pl.col("align_status") == "supervised")
            .then(pl.lit("score"))
            .otherwise(early),
            supervised=pl.when(pl.col("reason").is_null())
            .then(pl.coalesce("scored_tokens", "aligned_tokens"))
            .otherwise(0),
        )
        .drop("align_status", "skip_reason", "score_status", "scored_tokens", "aligned_tokens")
    )


def _nulls(*names: str, dtype: type[pl.DataType]) -> dict[str, pl.Expr]:
    return {name: pl.lit(None, dtype=dtype) for name in names}


def _aligned(alignments: pl.DataFrame) -> pl.DataFrame:
    return alignments.select(
        "rollout_id",
        "policy",
        "skip_reason",
        context="teacher_context",
        match=pl.col("quotes").list.first().struct.field("match"),
        tokens=pl.col("response_tokens").cast(pl.Int64),
        align_status="status",
        aligned_tokens=pl.col("positions").list.len().cast(pl.Int64),
    )


NO_SCORES = pl.DataFrame(
    schema={
        "rollout_id": pl.String, "score_status": pl.String, "scored_tokens": pl.Int64,
        "divergence": pl.Float64, "early": pl.Float64,
    }
)  # fmt: skip


def _scored(scores: pl.DataFrame) -> pl.DataFrame:
    return scores.select(
        "rollout_id",
        score_status="status",
        scored_tokens=pl.col("positions").list.len().cast(pl.Int64),
        divergence=pl.col("divergence").list.max().cast(pl.Float64),
        early=pl.col("divergence").list.head(EARLY).list.max().cast(pl.Float64),
    )


def worth_a_look() -> pl.Expr:
    """How well a rollout shows a correction: the divergence `early` of a wrong one with a preserved
    prefix and a quote that was found exactly; null of all others.
    """
    shown = (
        (pl.col("kind") == "wrong")
        & pl.col("reason").is_null()
        & (pl.col("match") == "exact")
        & (pl.col("supervised") < pl.col("tokens"))
    )
    return pl.when(shown).then(pl.col("early"))
