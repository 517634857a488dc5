"""The rollouts of a problem beside each other: what `rosd show --problem` prints."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from rosd_core.show.layout import print_indented
from rosd_core.show.words import in_words
from rosd_core.tables.row_types import AlignmentRow, ProblemRow, ReflectionRow, RolloutRow
from rosd_core.terminal import printable


@dataclass(frozen=True)
class GroupSheet:
    """A problem's group; `reflections` and `alignments` by rollout_id, as far as they are there."""

    iteration: str
    start: str
    also_in: Sequence[str]
    problem: ProblemRow | None
    rollouts: Sequence[RolloutRow]
    reflections: Mapping[str, ReflectionRow]
    alignments: Mapping[str, AlignmentRow]
    missing: Sequence[str]


def print_group(console: Console, sheet: GroupSheet) -> None:
    """Print the problem and a line per rollout."""
    right = sum(row["success"] for row in sheet.rollouts)
    name = printable(sheet.rollouts[0]["problem_id"])
    text = Text.assemble((name, "bold"), f"  {right} of {len(sheet.rollouts)} correct")
    console.print(text.append(f"  iteration {sheet.iteration}, sampled by {sheet.start}"))
    if sheet.problem is not None:
        text = f"\n{sheet.problem['prompt']}\ncorrect: {sheet.problem['answer']}"
        print_indented(console, Text(printable(text)))
    console.print()
    print_indented(console, _table(sheet), 0)
    for sentence in sheet.missing:
        console.print(Text(f"\n{printable(sentence)}", "italic"))
    if sheet.also_in:
        console.print(Text(f"\nalso in {', '.join(sheet.also_in)}: --iteration.", "dim"))


def _table(sheet: GroupSheet) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    for name in (
        "rollout",
        "verdict",
        "answer",
        "tokens",
        "supervised",
        "idea or skip reason",
    ):
        right = name in ("tokens", "supervised")
        table.add_column(name, justify="right" if right else "left", no_wrap=name == "rollout")
    for row in sheet.rollouts:
        key = row["rollout_id"]
        verdict, style = ("correct", "green") if row["success"] else ("wrong", "red")
        answer = "none" if row["parsed_answer"] is None else row["parsed_answer"]
        cut = ", cut off" if row["finish_reason"] == "length" else ""
        table.add_row(
            Text(printable(key)),
            Text(verdict, style),
            Text(printable(answer)),
            f"{len(row['response_ids'])}{cut}",
            _supervised(sheet.alignments.get(key)),
            Text(printable(_idea(sheet.reflections.get(key), sheet.alignments.get(key)))),
        )
    return table


def _supervised(row: AlignmentRow | None) -> str:
    if row is None:
        return ""
    return str(len(row["positions"])) if row["status"] == "supervised" else "skipped"


def _idea(reflection: ReflectionRow | None, alignment: AlignmentRow | None) -> str:
    """The idea; where the rollout is skipped, why; where it is not reflected on yet, nothing."""
    if alignment is not None and alignment["status"] == "skipped":
        return in_words("reason", alignment["skip_reason"] or "")
    if reflection is None:
        return ""
    return reflection["idea"] or in_words(
        "reason", reflection["skip_reason"] or reflection["status"]
    )
