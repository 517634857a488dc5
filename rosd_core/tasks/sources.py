"""Tasks: where problems come from. Each source yields rows in a fixed order; `choose` takes some.

| task | source |
| --- | --- |
| pocket | the generated world (rosd_core/pocket/world.py) |
| sciknoweval, tooluse | JSON lines with prompt, system, answer (the layout of the SDPO release) |
| gsm8k | JSON lines with question, answer ending in `#### gold` |
| math | MATH, AIME: problem (or question) with an answer, or a solution with a box |
| table | your JSON lines, CSV or Parquet, with names of the columns |
| reasoning_gym | a generator of reasoning-gym by name and config |

A file may be a path or `hf://datasets/OWNER/NAME/FILE` (read by polars; needs a network).
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import count, islice
from typing import Any

import polars as pl

from rosd_core.errors import RosdError
from rosd_core.graders.gold import gold_fault
from rosd_core.graders.graders import GRADERS, last_boxed
from rosd_core.graders.procedural import gym_dataset
from rosd_core.pocket.world import DOMAINS, make_problem
from rosd_core.seeds import row_seed
from rosd_core.tables.user_file import read_user_file

Row = dict[str, Any]

MATH_REQUEST = "Please reason step by step, and put your final answer within \\boxed{}."
GYM_REQUEST = (
    "Reason step by step, then give the final answer alone between <answer> and </answer>."
)


def _row(prompt: str, answer: str, grader: str, **more: Any) -> Row:
    return {
        "system": None,
        "prompt": prompt,
        "answer": answer,
        "solution": None,
        "grader": grader,
        "grader_data": None,
    } | more


def pocket_rows(seed: int, domain: str, split: str, steps: Sequence[int]) -> Iterator[Row]:
    """Endless problems of a world domain."""
    if domain not in DOMAINS:
        raise RosdError(f"prepare: there is no domain {domain!r}; there are: {', '.join(DOMAINS)}.")
    for index in count():
        problem = make_problem(seed, domain, split, index, tuple(steps))
        yield _row(
            problem.prompt,
            problem.answer,
            "answer_line",
            solution=problem.reference,
            grader_data=json.dumps({"worked": problem.solution}),
        )


def _column(frame: pl.DataFrame, file: str, *names: str) -> pl.Series:
    """The first of the named columns that is there, as text."""
    for name in names:
        if name in frame.columns:
            kind = frame[name].dtype
            if kind.is_nested() or kind in (pl.Binary, pl.Object):
                raise RosdError(
                    f"{file}: column {name} holds {kind}, not text; write each value as one text."
                )
            return frame[name].cast(pl.String)
    raise RosdError(
        f"{file}: none of the columns {', '.join(names)}; there are: {', '.join(frame.columns)}."
    )


def _texts(frame: pl.DataFrame, file: str, *names: str) -> list[str]:
    column = _column(frame, file, *names)
    empty = column.is_null() | (column.str.strip_chars() == "")
    if empty.any():
        raise RosdError(f"{file}: row {empty.arg_max()}: column {column.name} is empty.")
    return column.to_list()


def _check_gold(file: str, grader: str, answers: Sequence[str]) -> None:
    """Raises RosdError for the first gold answer that its grader could not read."""
    for number, answer in enumerate(answers):
        if fault := gold_fault(grader, answer):
            raise RosdError(
                f"{file}: row {number}: the answer {_brief(answer)} {fault} (grader {grader}); "
                "correct the row or take it out."
            )


def _brief(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:80] + " ...")


def layout_rows(file: str, grader: str) -> list[Row]:
    """Rows with prompt, system, answer: SciKnowEval and tool use."""
    frame = read_user_file(file, "prepare.domains")
    system = _column(frame, file, "system").to_list() if "system" in frame.columns else []
    prompts, answers = (_texts(frame, file, name) for name in ("prompt", "answer"))
    _check_gold(file, grader, answers)
    systems = system or [None] * len(frame)
    return [
        _row(prompt, answer, grader, system=system or None)
        for prompt, answer, system in zip(prompts, answers, systems, strict=True)
    ]


def math_rows(file: str, marked: bool) -> list[Row]:
    """GSM8K, MATH and AIME: a problem, an answer and perhaps a worked solution. With `marked`, and
    where there is a solution only, the gold answer is what `####` or a box marks in it.
    """
    frame = read_user_file(file, "prepare.domains")
    prompts = _texts(frame, file, "question", "problem")
    worked = (
        _column(frame, file, "solution").to_list()
        if "solution" in frame.columns
        else [None] * len(frame)
    )
    answers = _texts(frame, file, "answer") if "answer" in frame.columns else worked
    rows = []
    for number, (prompt, answer, solution) in enumerate(zip(prompts, answers, worked, strict=True)):
        if answer is None:
            raise RosdError(f"{file}: row {number}: neither an answer nor a solution.")
        gold = last_boxed(answer)  # GSM8K's answer is a worked solution that ends in #### gold
        if gold is not None:
            solution = solution or answer
        elif marked or answers is worked:
            raise RosdError(
                f"{file}: row {number}: {_brief(answer)} has no final answer, neither after #### "
                "nor in \\boxed{}; add it or take the row out."
            )
        gold = answer if gold is None else gold
        rows.append(_row(prompt, gold, "math", solution=solution, system=MATH_REQUEST))
    _check_gold(file, "math", [row["answer"] for row in rows])
    return rows


def table_rows(file: str, columns: Mapping[str, str], grader: str) -> list[Row]:
    """Your own table: `columns` maps prompt, answer and perhaps solution, system to its columns."""
    if grader not in GRADERS:
        raise RosdError(f"grader {grader!r} is unknown; there are: {', '.join(GRADERS)}.")
    frame = read_user_file(file, "prepare.domains")
    texts = {
        name: _texts(frame, file, column)
        if name in ("prompt", "answer")
        else _column(frame, file, column).to_list()
        for name, column in columns.items()
    }
    _check_gold(file, grader, texts["answer"])
    more = [name for name in texts if name not in ("prompt", "answer")]
    return [
        _row(prompt, answer, grader, **{name: texts[name][n] for name in more})
        for n, (prompt, answer) in enumerate(zip(texts["prompt"], texts["answer"], strict=True))
    ]


def gym_rows(name: str, config: Mapping[str, Any], seed: int, size: int) -> list[Row]:
    """`size` entries of a reasoning-gym generator."""
    dataset = gym_dataset(name, config, seed, size)
    generator = {"name": name, "config": dict(config), "seed": seed, "size": size}
    return [
        _row(
            dataset[n]["question"],
            str(dataset[n]["answer"]),
            "reasoning_gym",
            system=GYM_REQUEST,
            grader_data=json.dumps(generator | {"index": n}),
        )
        for n in range(size)
    ]


def system_of(row: Row, system: str | None) -> str | None:
    """The system message of a problem: the domain's, where it has one, else the row's."""
    return row["system"] if system is None else system or None


def source_rows(
    name: str, source: Mapping[str, Any], split: str, wanted: int | None, seed: int
) -> Iterator[Row] | list[Row]:
    """All rows that a domain's source has for a split; `source` is the entry of this name in
    prepare.domains. Raises RosdError naming the domain.
    """
    try:
        return _source_rows(source, split, wanted, seed)
    except RosdError as error:
        raise RosdError(f"prepare.domains.{name}: {error}") from None


def _source_rows(
    source: Mapping[str, Any], split: str, wanted: int | None, seed: int
) -> Iterator[Row] | list[Row]:
    task = source["task"]
    if task == "pocket":
        return pocket_rows(seed, source["domain"], split, source["steps"])
    if task == "reasoning_gym":
        # half as many again, since there are duplicates; the splits have different seeds
        size = (wanted or 0) * 3 // 2 + 16
        own = row_seed(seed, "reasoning_gym", source["generator"], split) % 2**31
        return gym_rows(source["generator"], source["config"], own, size)
    file = source[f"{split}_file"]
    if file is None:
        raise RosdError(f"{split}_file is null; name a file, or set {split}: 0.")
    if task == "table":
        return table_rows(file, source["columns"], source["grader"])
    if task == "math" or task == "gsm8k":
        return math_rows(file, task == "gsm8k")
    return layout_rows(file, {"sciknoweval": "mcq", "tooluse": "tool_use"}[task])


def choose(
    name: str,
    split: str,
    rows: Iterator[Row] | list[Row],
    wanted: int | None,
    seed: int,
    seen: set[str],
) -> tuple[list[Row], int]:
    """`wanted` rows (None: all) whose prompt is not in `seen`, to which they are added; and the
    number of duplicates that were dropped.

    Rows of a file are taken in an order drawn by `seed`, so that any number is a fair sample.
    Raises RosdError where there are too few.
    """
    if isinstance(rows, list):
        order = sorted(
            range(len(rows)), key=lambda n: row_seed(seed, "prepare", name, split, str(n))
        )
        numbered = ((n, rows[n]) for n in order)
    else:
        numbered = islice(enumerate(rows), 100 * (wanted or 1))
    chosen, duplicates = [], 0
    for number, row in numbered:
        if wanted is not None and len(chosen) == wanted:
            break
        if row["prompt"] in seen:
            duplicates += 1
            continue
        seen.add(row["prompt"])
        place = {"problem_id": f"{name}-{split}-{number:05d}", "domain": name, "split": split}
        chosen.append(place | row)
    if wanted is not None and len(chosen) < wanted:
        raise RosdError(
            f"prepare: domain {name} has {len(chosen)} different problems of split {split}, "
            f"{wanted} are wanted; ask for fewer."
        )
    return chosen, duplicates
