"""report.html: the tables of all iterations as one page; rosd_core/report/page draws it."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl
from ruamel.yaml import YAML
from ruamel.yaml.compat import StringIO

from rosd_core.align.token_spans import TokenMap
from rosd_core.config.params import Params
from rosd_core.config.study import load_study
from rosd_core.errors import RosdError
from rosd_core.models.pointer import read_pointer
from rosd_core.report.page.charts import accuracy_points, training_charts
from rosd_core.report.page.choose import choose_problems
from rosd_core.report.page.methods import study_chart
from rosd_core.report.page.outcomes import COLUMNS, outcomes
from rosd_core.report.page.page import Content, render
from rosd_core.report.page.payload import Page
from rosd_core.report.paired import over_seeds
from rosd_core.tables.io import read_rows, read_table
from stages.origin import refuse_stale_table
from stages.paths import Paths, start_of
from stages.study_results import read_outcome

STAGES = {"rollouts": "rollout", "reflections": "reflect", "alignments": "align", "scores": "score"}
METRICS = ("rollout", "reflect", "align", "score", "distill", "evaluate")


def report_page(
    params: Params, paths: Paths, accuracy: pl.DataFrame, curves: Mapping[str, pl.DataFrame]
) -> tuple[str, list[str]]:
    """The page's HTML, and what is missing in it."""
    p, keys = params.report, ["base", *params.loop]
    rows, notes = _outcomes(params, paths)
    problems = read_table("problems", paths.problems)
    chosen, note = _chosen(paths, rows, p.page_mb * 1e6)
    page = Page(list(rows), problems.filter(pl.col("problem_id").is_in(chosen)).to_dicts())
    for iteration, frame in rows.items():
        token_map = TokenMap.of_folder(paths.model_folder(start_of(params, iteration)))
        shown = frame.filter(pl.col("problem_id").is_in(chosen))
        page.add(iteration, _with_texts(paths, iteration, shown), token_map)
    trained, studies = params.prepare.trained(), _studies(params, paths)
    content = Content(
        title=f"ROSD on {', '.join(trained)}",
        facts=_facts(params, paths),
        notes=[*notes, *note],
        keys=keys,
        samples=params.evaluate.samples,
        confidence=params.evaluate.confidence,
        accuracy=accuracy_points(accuracy, trained),
        training=training_charts(curves, {key: _metrics(paths, key) for key in params.loop}),
        studies=studies,
        rows=rows,
        blocks=page.blocks(),
        params=_as_yaml(params),
    )
    return render(content), [*notes, *note]


def _facts(params: Params, paths: Paths) -> list[str]:
    pointer = read_pointer(paths.model("base"))
    model = "the built-in model" if pointer is None else pointer.model
    return [
        f"base model: {model}",
        f"teacher reads: {params.align.teacher_context}",
        f"mask: {params.align.mask}",
        f"loss: {params.distill.loss}",
        f"learning rate: {params.distill.learning_rate:g}",
        f"iterations: {len(params.loop)}",
    ]


def _studies(params: Params, paths: Paths) -> list[dict[str, Any]]:
    """A chart for each study of the project that has results."""
    e, charts = params.evaluate, []
    for file in sorted((paths.root / "study").glob("*.yaml")):
        home = file.with_suffix("")
        if (home / "results.parquet").is_file():
            study = load_study(file)
            found = read_outcome(study, params, home)
            interval = over_seeds(e.confidence, e.bootstrap_resamples)
            charts.append(study_chart(study.title, found, interval))
    return charts


def _outcomes(params: Params, paths: Paths) -> tuple[dict[str, pl.DataFrame], list[str]]:
    """What became of the rollouts of each iteration that has any; and notes about tables that are
    missing or were made from other params.
    """
    found, notes = {}, []
    for iteration in params.loop:
        tables = {}
        for table, stage in STAGES.items():
            file = paths.table(table, iteration)
            if not file.is_file():
                notes.append(f"{iteration}: there is no table {table} yet.")
                break
            try:
                refuse_stale_table(params, paths, stage, iteration, {})
            except RosdError as error:
                notes.append(f"{iteration}: {error}")
            tables[table] = read_table(table, file, COLUMNS[table])
        if "rollouts" in tables:
            found[iteration] = outcomes(tables)
    return found, notes


def _chosen(
    paths: Paths, rows: Mapping[str, pl.DataFrame], budget: float
) -> tuple[set[str], list[str]]:
    """The problems that are shown, and a note where they are not all."""
    if not rows:
        return set(), []
    sized = []
    for iteration, frame in rows.items():
        lengths = read_table(
            "rollouts", paths.table("rollouts", iteration), ["rollout_id", "response"]
        )
        sizes = lengths.select("rollout_id", characters=pl.col("response").str.len_bytes())
        sized.append(
            frame.join(sizes, on="rollout_id").select(
                "problem_id",
                "characters",
                pl.col("tokens").fill_null(0),
                pl.col("supervised").fill_null(0),
            )
        )
    every = pl.concat(sized)
    chosen, count = choose_problems(every, budget), every["problem_id"].n_unique()
    if len(chosen) == count:
        return chosen, []
    note = (
        f"The rollouts below are those of {len(chosen)} of {count} problems, chosen by a hash of "
        "their ids (report.page_mb). All numbers above are of all rollouts."
    )
    return chosen, [note]


def _with_texts(paths: Paths, iteration: str, rows: pl.DataFrame) -> list[dict[str, Any]]:
    """Rows of `outcomes` with their texts, tokens and scores."""
    ids = rows["rollout_id"].to_list()
    rollouts = _by_id(paths.table("rollouts", iteration), "rollouts", ids)
    reflections = _by_id(paths.table("reflections", iteration), "reflections", ids)
    alignments = _by_id(paths.table("alignments", iteration), "alignments", ids)
    scores = _by_id(paths.table("scores", iteration), "scores", ids)
    merged = []
    for row in rows.iter_rows(named=True):
        key = row["rollout_id"]
        rollout, reflection, aligned = rollouts[key], reflections.get(key), alignments.get(key)
        merged.append(
            rollout
            | row
            | {name: reflection and reflection[name] for name in ("idea", "raw", "peer_id")}
            | {name: aligned and aligned[name] for name in ("quotes", "positions")}
            | {"scored": scores.get(key)}
        )
    return merged


def _by_id(file: Path, table: str, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    if not file.is_file():
        return {}
    return {row["rollout_id"]: row for row in read_rows(table, file, ids).iter_rows(named=True)}


def _metrics(paths: Paths, key: str) -> dict[str, Any]:
    files = {stage: paths.metrics(stage, key) for stage in METRICS}
    return {s: json.loads(f.read_text(encoding="utf-8")) for s, f in files.items() if f.is_file()}


def _as_yaml(params: Params) -> str:
    text = StringIO()
    yaml = YAML()
    yaml.width = 110
    yaml.dump(params.model_dump(mode="json"), text)
    return text.getvalue()
