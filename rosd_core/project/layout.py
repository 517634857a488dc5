"""From a data file to an entry of `prepare.domains`: its layout, its columns, its grader."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from rosd_core.errors import RosdError
from rosd_core.graders.graders import GRADERS
from rosd_core.graders.numbers import last_number_of

# what columns are usually called; the first that is there is taken
NAMES = {
    "prompt": ("prompt", "question", "problem", "instruction", "query", "input"),
    "answer": ("answer", "gold", "target", "label", "final_answer", "ground_truth", "output"),
    "solution": ("solution", "reasoning", "rationale", "worked", "explanation", "cot"),
    "system": ("system",),
}
_LETTER = re.compile(r"\s*[A-Z]\s*")
_NUMBER = re.compile(r"\s*[-+]?[$€£]?\s*\d[\d,]*(?:\.\d+)?\s*%?\s*")


def domain_of(
    frame: pl.DataFrame,
    files: Mapping[str, str | None],
    columns: Mapping[str, str] | None,
    grader: str | None,
) -> tuple[dict[str, Any], str]:
    """The domain's entry without its sizes, and the reason for it. `files` holds train_file and
    test_file; `columns` and `grader` are the user's own choice, if there is one.

    Raises RosdError for a column that is not there, an unknown grader, and where no column looks
    like a prompt or an answer.
    """
    if columns is None and grader is None and (task := _known_layout(frame)):
        return {"task": task, **files}, f"the columns are those of the {task} sets"
    chosen = _columns(frame, files["train_file"], columns)
    if grader is None:
        grader, why = _grader(frame[chosen["answer"]].cast(pl.String).to_list())
    elif grader in GRADERS:
        why = "your choice"
    else:
        raise RosdError(f"--grader {grader!r} is unknown; there are: {', '.join(GRADERS)}.")
    named = ", ".join(f"{name} = {column}" for name, column in chosen.items())
    entry = {"task": "table", **files, "columns": chosen, "grader": grader}
    return entry, f"columns {named}; grader {grader}: {why}"


def _known_layout(frame: pl.DataFrame) -> str | None:
    """The task whose files look like this."""
    columns = set(frame.columns)
    if {"kind", "prompt", "answer", "system"} <= columns:
        return "tooluse" if set(frame["kind"]) - {"mcq"} else "sciknoweval"
    if {"question", "answer"} <= columns and frame["answer"].dtype == pl.String:
        return "gsm8k" if frame["answer"].str.contains("\n#### ").all() else None
    return None


def _columns(
    frame: pl.DataFrame, file: str | None, wanted: Mapping[str, str] | None
) -> dict[str, str]:
    """Our name of each column -> its name in the file."""
    there = {name.casefold(): name for name in frame.columns}
    for ours, name in (wanted or {}).items():
        if name not in frame.columns:
            raise RosdError(
                f"{file}: --columns {ours}={name}: there is no such column; there are: "
                f"{', '.join(frame.columns)}."
            )
    found = dict(wanted or {})
    for ours, names in NAMES.items():
        taken = set(found.values())
        near = [there[n] for n in names if n in there and there[n] not in taken]
        if ours not in found and near:
            found[ours] = near[0]
    for ours in ("prompt", "answer"):
        if ours not in found:
            raise RosdError(
                f"{file}: no column looks like the {ours}; name it, for example "
                f"--columns {ours}=NAME. There are: {', '.join(frame.columns)}."
            )
    return {ours: found[ours] for ours in NAMES if ours in found}


def _grader(answers: Sequence[str | None]) -> tuple[str, str]:
    """The grader that fits the gold answers, and why."""
    texts = [answer for answer in answers if answer]
    if all(_LETTER.fullmatch(text) for text in texts):
        return "mcq", "every answer is one letter"
    if all(_NUMBER.fullmatch(text) for text in texts):
        return "last_number", "every answer is a number"
    boxed = any("\\boxed" in text for text in texts)
    lines = any("\n" in text.strip() for text in texts)
    if lines and not boxed and all(map(_ends_in_number, texts)):
        return "last_number", "answers are worked solutions that end in a number"
    if any("\\" in text or "$" in text for text in texts):
        return "math", "answers hold LaTeX"
    return "answer_line", "answers are free text, so the response must mark its own"


def _ends_in_number(text: str) -> bool:
    """Whether the last line of a text has a number that can be compared."""
    found = last_number_of(text.strip().split("\n")[-1])
    return found is not None and found[1] is not None


def domain_name(file: str) -> str:
    """A name for the domain: the folder of a file called train, else the file's own name."""
    path = Path(file)
    name = path.parent.name if path.stem in ("train", "data", "all") else path.stem
    return re.sub(r"\W+", "_", name).strip("_") or "mine"
