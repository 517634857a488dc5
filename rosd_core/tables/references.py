"""Ids and positions of a table refer to what exists: checked where a stage joins tables.

Each function raises RosdError naming the file, the first row that is wrong, and the remedy.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from rosd_core.errors import RosdError
from rosd_core.tables.io import read_table
from rosd_core.tables.parquet import frames
from rosd_core.tables.row_types import AlignmentRow, RolloutRow

AGAIN = "The tables are of different runs, or one was changed: `dvc repro` renews them."
PER_TOKEN = ("behaviour_logp", "student_logp")  # one value per supervised token, in every row


def refuse_unknown(frame: pl.DataFrame, column: str, known: pl.Series, file: Path) -> None:
    """Every id in `column` is one of `known`, whose name is that of the table they are from."""
    strangers = frame.filter(~pl.col(column).is_in(known.implode()))
    if len(strangers):
        row = strangers.row(0, named=True)
        raise RosdError(
            f"{file}: row {row['rollout_id']}: {column} {row[column]} is not in {known.name}. "
            f"{AGAIN}"
        )


def check_rollouts(rollouts: pl.DataFrame, problems: pl.DataFrame, file: Path) -> None:
    """The rollouts in `file` answer problems of the table `problems`."""
    refuse_unknown(rollouts, "problem_id", problems["problem_id"].alias("problems"), file)


def check_reflections(reflections: pl.DataFrame, rollouts: pl.DataFrame, file: Path) -> None:
    """The reflections in `file` and their peers are rollouts of the table, of the same problem, and
    every rollout has one.
    """
    known = rollouts["rollout_id"].alias("rollouts")
    refuse_unknown(reflections, "rollout_id", known, file)
    refuse_unknown(reflections.drop_nulls("peer_id"), "peer_id", known, file)
    if len(reflections) != len(rollouts):
        raise RosdError(
            f"{file}: {len(reflections)} reflections of {len(rollouts)} rollouts. {AGAIN}"
        )
    problem_of = rollouts.select(peer_id="rollout_id", peer_problem="problem_id")
    pairs = reflections.join(problem_of, "peer_id", maintain_order="left")
    foreign = pairs.filter(pl.col("problem_id") != pl.col("peer_problem"))
    if len(foreign):
        row = foreign.row(0, named=True)
        raise RosdError(
            f"{file}: row {row['rollout_id']}: its peer {row['peer_id']} answers another problem. "
            f"{AGAIN}"
        )


def check_alignment(row: AlignmentRow, rollout: RolloutRow, file: Path) -> None:
    """The positions and quotes of a row of `file` lie inside its response."""
    tokens, characters = len(rollout["response_ids"]), len(rollout["response"])
    places = row["quotes"] or ()
    if row["response_tokens"] != tokens:
        wrong = f"response_tokens is {row['response_tokens']}, but the rollout has {tokens}"
    elif not _inside(row["positions"], tokens):
        wrong = f"positions do not rise from 0 to {tokens - 1}, inside the response"
    elif not all(
        q["char_start"] is None or 0 <= q["char_start"] <= (q["char_end"] or 0) <= characters
        for q in places
    ):
        wrong = f"a quote lies outside the response of {characters} characters"
    else:
        return
    raise RosdError(f"{file}: row {row['rollout_id']}: {wrong}. {AGAIN}")


def _inside(positions: Sequence[int], length: int) -> bool:
    """Ascending, within 0..length - 1."""
    if not positions:
        return True
    rising = bool((np.diff(np.asarray(positions)) > 0).all())
    return rising and positions[0] >= 0 and positions[-1] < length


def checked_scores(file: Path, columns: list[str]) -> pl.DataFrame:
    """These columns of the table `scores`. Its positions lie inside the responses, and each has its
    log-probabilities.
    """
    table = read_table("scores", file, columns)
    size, positions = pl.col("positions").list.len(), pl.col("positions")
    rising = positions.list.eval((pl.element().diff() > 0).all()).list.first()
    inside = (positions.list.min() >= 0) & (
        positions.list.max() < pl.col("response_ids").list.len()
    )
    whole = [pl.col(name).list.len() == size for name in PER_TOKEN]
    sound = (size == 0) | (rising & inside)
    for part in frames(file, ["rollout_id", "positions", "response_ids", *PER_TOKEN]):
        wrong = part.filter(~(sound & pl.all_horizontal(whole)))
        if len(wrong):
            raise RosdError(
                f"{file}: row {wrong['rollout_id'][0]}: positions that do not lie inside the "
                f"response in ascending order, or not one log-probability for each. {AGAIN}"
            )
    return table
