"""show: one rollout, or the rollouts of a problem, through the stages; no stage of dvc.yaml.

in  iterations/<iteration>/*.parquet, data/problems.parquet, the tokenizer of models/<start>
"""

from collections.abc import Sequence
from typing import Any, cast

import polars as pl

from rosd_core.align.token_spans import TokenMap
from rosd_core.config.params import Params
from rosd_core.errors import RosdError
from rosd_core.report.page.outcomes import read_outcomes, worth_a_look
from rosd_core.show.group import GroupSheet
from rosd_core.show.rollout import Sheet
from rosd_core.tables.io import check_schema, read_rows, read_table
from rosd_core.tables.parquet import read_where
from rosd_core.tables.row_types import RolloutRow
from stages.consistent import consistent_tables
from stages.paths import Paths, start_of

LATER = ("reflections", "alignments", "scores")


def sheet(params: Params, paths: Paths, rollout_id: str, iteration: str | None) -> Sheet:
    """All that the tables hold of a rollout, in the last iteration that has it unless one is named.
    Raises RosdError where none has it.
    """
    have = _iterations_with(params, paths, "rollout_id", rollout_id, iteration)
    key = have[-1]
    rollout = _one("rollouts", paths, key, rollout_id)
    found: dict[str, Any] = dict.fromkeys(LATER)
    names, missing = consistent_tables(params, paths, key)
    for table in [name for name in names if name in LATER]:
        found[table] = _one(table, paths, key, rollout_id)
        if found[table] is None and table != "scores":  # which has supervised rollouts alone
            missing.append(f"{table} of {key}: no row of this rollout; `dvc repro` renews them.")
    peer = (found["reflections"] or {}).get("peer_id")
    problem = _problem(paths, rollout["problem_id"], missing)
    return Sheet(
        iteration=key,
        start=start_of(params, key),
        also_in=have[:-1],
        rollout=rollout,
        problem=problem,
        reflection=found["reflections"],
        alignment=found["alignments"],
        score=found["scores"],
        peer=None if peer is None else _one("rollouts", paths, key, peer),
        tokens=_tokens(params, paths, key, rollout, missing),
        missing=missing,
    )


def group(params: Params, paths: Paths, problem_id: str, iteration: str | None) -> GroupSheet:
    """The rollouts of a problem, in the last iteration that sampled it unless one is named. Raises
    RosdError where none did.
    """
    have = _iterations_with(params, paths, "problem_id", problem_id, iteration)
    key = have[-1]
    rollouts = read_where(paths.table("rollouts", key), "problem_id", [problem_id]).to_dicts()
    names, missing = consistent_tables(params, paths, key)
    rows: dict[str, Any] = {"reflections": {}, "alignments": {}}
    for table in [name for name in names if name in rows]:
        found = read_where(paths.table(table, key), "problem_id", [problem_id]).to_dicts()
        rows[table] = {row["rollout_id"]: row for row in found}
    problem = _problem(paths, problem_id, missing)
    return GroupSheet(
        iteration=key,
        start=start_of(params, key),
        also_in=have[:-1],
        problem=problem,
        rollouts=[cast(RolloutRow, row) for row in rollouts],
        reflections=rows["reflections"],
        alignments=rows["alignments"],
        missing=missing,
    )


def example(params: Params, paths: Paths) -> str | None:
    """A rollout worth a look: of the last iteration with scores the one that shows a correction
    best, else the first that is trained on. None where there are no scores yet.
    """
    for key in reversed(params.loop):
        names, _ = consistent_tables(params, paths, key)
        if "scores" not in names:
            continue
        rows = read_outcomes({table: paths.table(table, key) for table in names})
        rows = rows.filter(pl.col("reason").is_null())
        best = rows.with_columns(worth=worth_a_look()).sort(
            "worth", descending=True, nulls_last=True, maintain_order=True
        )
        if len(best):
            return best["rollout_id"][0]
    return None


def _iterations_with(
    params: Params, paths: Paths, column: str, wanted: str, iteration: str | None
) -> list[str]:
    """The iterations whose rollouts have this id, the one to show last. Raises RosdError where
    there is none.
    """
    if iteration is not None:
        start_of(params, iteration)  # a key of the loop
    have, there = [], []
    for key in params.loop:
        file = paths.table("rollouts", key)
        if not file.is_file():
            continue
        there.append(key)
        if wanted in read_table("rollouts", file, [column])[column]:
            have.append(key)
    if iteration is not None and iteration in have:
        return [*(key for key in have if key != iteration), iteration]
    if iteration is None and have:
        return have
    raise RosdError(_not_there(paths, column, wanted, iteration, have, there))


def _not_there(
    paths: Paths,
    column: str,
    wanted: str,
    iteration: str | None,
    have: Sequence[str],
    there: Sequence[str],
) -> str:
    """Why an id cannot be shown, and what to do."""
    if iteration is not None and iteration not in there:
        file = paths.table("rollouts", iteration)
        return f"{file}: not there yet; `rosd rollout {iteration}` or `dvc repro` writes it."
    if not there:
        return f"{paths.root / 'iterations'}: no rollouts there yet; `dvc repro` makes them."
    if have:
        return f"{wanted} is not in iteration {iteration}, but in {', '.join(have)}."
    newest = paths.table("rollouts", iteration or there[-1])
    ids = read_table("rollouts", newest, ["rollout_id", "problem_id"])
    if column == "rollout_id" and wanted in ids["problem_id"]:
        return f"{wanted} is a problem: `rosd show --problem {wanted}` lists its rollouts."
    if column == "problem_id" and wanted in ids["rollout_id"]:
        return f"{wanted} is a rollout: `rosd show {wanted}` shows it."
    where = f"iteration {iteration}" if iteration else f"the rollouts of {', '.join(there)}"
    return f"{wanted!r} is not in {where}. {newest} has, for example, {ids[column][0]}."


def _one(table: str, paths: Paths, key: str, rollout_id: str) -> Any:
    """The row of a rollout; None where there is none, or no table."""
    file = paths.table(table, key)
    found = read_rows(table, file, [rollout_id]).to_dicts() if file.is_file() else []
    return found[0] if found else None


def _problem(paths: Paths, problem_id: str, missing: list[str]) -> Any:
    if not paths.problems.is_file():
        missing.append(f"{paths.problems}: not there; `rosd prepare` writes it.")
        return None
    check_schema("problems", paths.problems)
    found = read_where(paths.problems, "problem_id", [problem_id]).to_dicts()
    if not found:
        missing.append(f"{paths.problems}: {problem_id} is not in it any more.")
    return found[0] if found else None


def _tokens(
    params: Params, paths: Paths, key: str, rollout: Any, missing: list[str]
) -> TokenMap | None:
    """The tokens of the model that sampled; None, with the reason among the `missing`, where its
    tokenizer is gone or is another one now.
    """
    try:
        tokens = TokenMap.of_folder(paths.model_folder(start_of(params, key)))
        tokens.spans(rollout["response_ids"], rollout["response"])
    except RosdError as error:
        missing.append(f"tokens are not marked: {error}")
        return None
    return tokens
