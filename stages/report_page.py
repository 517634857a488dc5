"""report.html: the tables of all iterations as one page; rosd_core/report/page draws it."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl
from ruamel.yaml import YAML
from ruamel.yaml.compat import StringIO

from rosd_core.align.token_spans import TokenMap
from rosd_core.config.methods import method_of
from rosd_core.config.params import Params
from rosd_core.config.study import load_study
from rosd_core.models.pointer import read_pointer
from rosd_core.report.page.charts import accuracy_points, training_charts
from rosd_core.report.page.choose import choose_problems
from rosd_core.report.page.methods import study_chart
from rosd_core.report.page.outcomes import read_outcomes, worth_a_look
from rosd_core.report.page.page import Content, render
from rosd_core.report.page.payload import Page
from rosd_core.report.paired import over_seeds
from rosd_core.report.quantities import STAGES
from rosd_core.tables.io import read_rows, read_table
from rosd_core.tables.parquet import frames
from stages.consistent import consistent_tables
from stages.origin import trained_otherwise
from stages.paths import Paths, start_of
from stages.study_results import read_outcome

# what the page shows of each table, and the texts among it
SHOWN = {
    "rollouts": [
        "rollout_id", "response_ids", "response", "parsed_answer", "answer_format", "feedback",
        "finish_reason",
    ],
    "reflections": ["rollout_id", "idea", "raw", "peer_id"],
    "alignments": ["rollout_id", "quotes", "positions"],
    "scores": [
        "rollout_id", "positions", "response_ids", "divergence", "student_logp", "teacher_logp",
        "student_top_ids", "student_top_logp", "teacher_top_ids", "teacher_top_logp",
    ],
}  # fmt: skip
TEXTS = {"rollouts": ["response", "feedback"], "reflections": ["idea", "raw"]}
SIZES = ("characters", pl.col("tokens").fill_null(0), pl.col("supervised").fill_null(0))
# the sections of params that dvc.yaml declares for the stage report: the page shows no others
SECTIONS = {
    "prepare", "prompts", "rollout", "reflect", "align", "score", "distill", "evaluate", "loop",
    "report",
}  # fmt: skip


def report_page(
    params: Params, paths: Paths, accuracy: pl.DataFrame, curves: Mapping[str, pl.DataFrame]
) -> tuple[str, list[str]]:
    """The page's HTML, and what is missing in it."""
    rows, tables, notes = _outcomes(params, paths)
    problems = read_table("problems", paths.problems)
    chosen, note = _chosen(params, paths, rows, tables)
    page = Page(list(rows), problems.filter(pl.col("problem_id").is_in(chosen)).to_dicts())
    for iteration, frame in rows.items():
        token_map = TokenMap.of_folder(paths.model_folder(start_of(params, iteration)))
        shown = frame.filter(pl.col("problem_id").is_in(chosen))
        page.add(iteration, _with_texts(paths, iteration, shown, tables[iteration]), token_map)
    trained, studies = params.prepare.trained(), _studies(params, paths)
    content = Content(
        title=f"ROSD on {', '.join(trained)}",
        facts=_facts(params, paths),
        notes=[*notes, *note],
        keys=["base", *params.loop],
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
    # a folder by its name alone: the page may be sent to others
    model = "the built-in model" if pointer is None else pointer.model
    if pointer is not None and pointer.revision is None:
        model = Path(model).name
    return [
        f"base model: {model}",
        f"method: {method_of(params.model_dump(mode='json'))}",
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


def _outcomes(
    params: Params, paths: Paths
) -> tuple[dict[str, pl.DataFrame], dict[str, list[str]], list[str]]:
    """What became of the rollouts of each iteration that has any; the tables that say so; and notes
    on the others.
    """
    rows, tables, notes = {}, {}, []
    for iteration in params.loop:
        names, said = consistent_tables(params, paths, iteration)
        notes += said
        if (told := trained_otherwise(params, paths, iteration)) and "scores" in names:
            notes.append(told)
        if names:
            found = read_outcomes({table: paths.table(table, iteration) for table in names})
            rows[iteration] = found.with_columns(worth=worth_a_look())
            tables[iteration] = names
    return rows, tables, notes


def _chosen(
    params: Params,
    paths: Paths,
    rows: Mapping[str, pl.DataFrame],
    tables: Mapping[str, Sequence[str]],
) -> tuple[set[str], list[str]]:
    """The problems that are shown, and a note where they are not all."""
    if not rows:
        return set(), []
    sized = []
    for iteration, frame in rows.items():
        sizes = pl.concat(
            _characters(paths, iteration, table) for table in tables[iteration] if table in TEXTS
        )
        sizes = sizes.group_by("rollout_id").agg(pl.col("characters").sum())
        sized.append(frame.join(sizes, on="rollout_id").select("problem_id", *SIZES))
    every = pl.concat(sized)
    budget = params.report.page_mb * 1e6
    chosen, count = choose_problems(every, budget, params.score.show_top), every["problem_id"]
    if len(chosen) == count.n_unique():
        return chosen, []
    note = (
        f"The rollouts below are those of {len(chosen)} of {count.n_unique()} problems, chosen by "
        "a hash of their ids (report.page_mb). All numbers above are of all rollouts."
    )
    return chosen, [note]


def _characters(paths: Paths, iteration: str, table: str) -> pl.DataFrame:
    """How many bytes the texts of each rollout have in a table."""
    names = TEXTS[table]
    parts = frames(paths.table(table, iteration), ["rollout_id", *names])
    lengths = [pl.col(name).str.len_bytes().fill_null(0).cast(pl.Int64) for name in names]
    size = pl.sum_horizontal(lengths)
    return pl.concat(part.select("rollout_id", characters=size) for part in parts)


def _with_texts(
    paths: Paths, iteration: str, rows: pl.DataFrame, tables: Sequence[str]
) -> list[dict[str, Any]]:
    """Rows of `outcomes` with their texts, tokens and scores, as far as the tables have them."""
    ids = rows["rollout_id"].to_list()
    read: dict[str, dict[str, dict[str, Any]]] = {table: {} for table in SHOWN}
    for table in tables:
        frame = read_rows(table, paths.table(table, iteration), ids, SHOWN[table])
        read[table] = {row["rollout_id"]: row for row in frame.iter_rows(named=True)}
    merged = []
    for row in rows.iter_rows(named=True):
        key = row["rollout_id"]
        reflection, aligned = read["reflections"].get(key), read["alignments"].get(key)
        merged.append(
            read["rollouts"][key]
            | row
            | {name: reflection and reflection[name] for name in ("idea", "raw", "peer_id")}
            | {name: aligned and aligned[name] for name in ("quotes", "positions")}
            | {"scored": read["scores"].get(key)}
        )
    return merged


def _metrics(paths: Paths, key: str) -> dict[str, Any]:
    files = {stage: paths.metrics(stage, key) for stage in STAGES}
    return {s: json.loads(f.read_text(encoding="utf-8")) for s, f in files.items() if f.is_file()}


def _as_yaml(params: Params) -> str:
    text = StringIO()
    yaml = YAML()
    yaml.width = 110
    yaml.dump(params.model_dump(mode="json", include=SECTIONS), text)
    return text.getvalue()
