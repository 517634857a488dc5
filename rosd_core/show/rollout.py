"""One rollout through the stages: what `rosd show ROLLOUT` prints."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rich import box
from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from rosd_core.align.token_spans import TokenMap
from rosd_core.report.page.outcomes import TRAINED
from rosd_core.show.layout import print_indented
from rosd_core.show.marks import Marks, marked, signs
from rosd_core.show.tokens import token_name
from rosd_core.show.words import in_words
from rosd_core.tables.row_types import (
    AlignmentRow,
    ProblemRow,
    QuotePlace,
    ReflectionRow,
    RolloutRow,
    ScoreRow,
)
from rosd_core.terminal import printable

LAST = "teacher's top ids"  # the last column of the table of tokens
LIKELY = 4  # most ids of the teacher that a token's line names; fewer where they do not fit


@dataclass(frozen=True)
class Sheet:
    """The rows of a rollout, None where their table or they are not there. `missing` says why, a
    sentence each; `tokens` is None where the tokenizer cannot be read.
    """

    iteration: str
    start: str  # the model that sampled
    also_in: Sequence[str]  # other iterations that have a rollout of this id
    rollout: RolloutRow
    problem: ProblemRow | None
    reflection: ReflectionRow | None
    alignment: AlignmentRow | None
    score: ScoreRow | None
    peer: RolloutRow | None
    tokens: TokenMap | None
    missing: Sequence[str]

    @property
    def quotes(self) -> list[QuotePlace]:
        return list((self.alignment or {}).get("quotes") or [])

    @property
    def positions(self) -> list[int]:
        """Supervised tokens: score may leave out some that align marked."""
        row = self.score or self.alignment
        return [] if row is None else list(row["positions"])

    @property
    def divergence(self) -> list[float] | None:
        """Of the supervised tokens; None where the teacher has not scored them."""
        values = [] if self.score is None else list(self.score["divergence"])
        return values if values and len(values) == len(self.positions) else None


def print_sheet(console: Console, sheet: Sheet, count: int) -> None:
    """Print all that is known of a rollout, with the `count` tokens of the largest divergence."""
    console.print(_headline(sheet))
    for title, body in _parts(sheet, count, console.width):
        console.print(Text(f"\n{title}", "bold"))
        print_indented(console, body)
    for sentence in sheet.missing:
        console.print(Text(f"\n{printable(sentence)}", "italic"))
    if sheet.also_in:
        others = ", ".join(sheet.also_in)
        console.print(Text(f"\na rollout of this id is also in {others}: --iteration.", "dim"))


def _headline(sheet: Sheet) -> Text:
    row = sheet.rollout
    verdict, style = ("correct", "bold green") if row["success"] else ("wrong", "bold red")
    text = Text.assemble((printable(row["rollout_id"]), "bold"), "  ", (verdict, style))
    return text.append(f"  iteration {sheet.iteration}, sampled by {sheet.start}")


def _parts(sheet: Sheet, count: int, width: int) -> Iterator[tuple[str, RenderableType]]:
    """Titles and what stands below them."""
    row, problem = sheet.rollout, sheet.problem
    if problem is not None:
        if problem["system"]:
            yield "System message", _plain(problem["system"])
        yield "Problem", _plain(problem["prompt"])
    yield "Response", response_text(sheet, width - 2)
    yield "Verdict", _plain("\n".join(_verdict(row, problem)))
    if sheet.reflection is not None:
        yield "Reflection", _plain("\n".join(_reflection(sheet.reflection, sheet.quotes)))
    if sheet.peer is not None:
        yield f"Peer {printable(sheet.peer['rollout_id'])}", _plain(sheet.peer["response"])
    if sheet.alignment is not None:
        yield "Supervision", _plain("\n".join(_supervision(sheet, sheet.alignment)))
    if sheet.score is not None and sheet.divergence is not None and sheet.tokens is not None:
        shown = min(count, len(sheet.positions))
        if shown:
            title = f"Largest divergence: {shown} of {len(sheet.positions)} supervised tokens"
            yield title, token_table(sheet.score, sheet.tokens, shown, width - 2)


def _plain(text: str) -> Text:
    return Text(printable(text))


def response_text(sheet: Sheet, width: int) -> RenderableType:
    """The response with its marks and what they mean."""
    row = sheet.rollout
    spans = [
        (q["char_start"], q["char_end"])
        for q in sheet.quotes
        if q["char_start"] is not None and q["char_end"] is not None
    ]
    marks = None
    if sheet.tokens is not None:
        ids, names = row["response_ids"], sheet.tokens
        special = [token_name(names, i) if i in names.special else None for i in ids]
        spans_T2 = names.spans(ids, row["response"])
        marks = Marks(spans_T2, special, sheet.positions, sheet.divergence)
    text = marked(signs(row["response"], spans, marks), width)
    text.rstrip()
    legend = []
    if spans:
        legend.append("^ error quote")
    if marks is not None and sheet.positions:
        if sheet.divergence is None:
            legend.append("- supervised")
        else:
            legend.append("0-9 supervised: divergence in tenths of its maximum, 0.69 nats")
        if len(sheet.positions) < len(row["response_ids"]):
            legend.append("no mark: not supervised")
    return Group(text, Text("; ".join(legend), "italic")) if legend else text


def _verdict(row: RolloutRow, problem: ProblemRow | None) -> Iterator[str]:
    answer = "none" if row["parsed_answer"] is None else row["parsed_answer"]
    gold = "" if problem is None else f", correct is {problem['answer']}"
    yield f"reward {row['reward']:g}; answer {answer}{gold}"
    if words := in_words("format", row["answer_format"]):
        yield words
    if row["feedback"]:
        yield f"feedback: {row['feedback']}"
    if row["finish_reason"] == "length":
        yield "cut off at rollout.max_new_tokens"


def _reflection(row: ReflectionRow, places: Sequence[QuotePlace]) -> Iterator[str]:
    if row["status"] != "ok":
        yield f"{in_words('reason', row['skip_reason'] or row['status'])}"
        if row["raw"]:
            yield f"answer: {row['raw']}"
    if row["idea"]:
        yield f"idea: {row['idea']}"
    if places:
        for place in places:
            also = f", in {place['candidates']} places" if place["candidates"] > 1 else ""
            yield f"quote ({in_words('match', place['match'])}{also}): {place['quote']}"
    else:
        for quote in row["quotes"] or []:
            yield f"quote: {quote}"
    if row["repairs"]:
        yield f"repaired while reading: {', '.join(row['repairs'])}"


def _supervision(sheet: Sheet, row: AlignmentRow) -> Iterator[str]:
    if row["status"] == "skipped":
        yield f"skipped: {in_words('reason', row['skip_reason'] or '')}"
        return
    places = sheet.positions
    first = f", from token {places[0]} on" if places else ""
    covered = in_words("policy", row["policy"])
    yield f"{covered}: {len(places)} of {row['response_tokens']} tokens{first}"
    if row["teacher_context"] not in (None, "none"):
        yield f"beside the problem, the teacher reads {in_words('context', row['teacher_context'])}"
    if row["weight"] is not None and row["weight"] != 1:
        yield f"weight in the loss: {row['weight']:.3g}"
    if sheet.score is not None:
        status = sheet.score["status"]
        yield f"{'' if status in TRAINED else 'not trained on: '}{in_words('score', status)}"
        if sheet.score["idea_gain"] is not None:
            yield f"the idea's gain on the peer: {sheet.score['idea_gain']:+.3f} nats per token"


def token_table(score: ScoreRow, tokens: TokenMap, count: int, width: int) -> Table:
    """The `count` supervised tokens of the largest divergence, largest first."""
    names = ["token", "text", "JSD", "student", "teacher", "log p"]
    ns = largest(score["divergence"], count)
    lines = [_cells(score, tokens, n) for n in ns]
    # a space and a divider behind each column, a space behind the last one
    columns = zip(names, *lines, strict=True)
    widths = [2 + max(map(cell_len, column)) for column in columns]
    if width - sum(widths) - 1 < cell_len(LAST):  # a narrow terminal
        names, widths = names[:-1], widths[:-1]
    room = width - sum(widths) - 1
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    for name in (*names, LAST):
        side = "left" if name in ("text", LAST) else "right"
        table.add_column(name, justify=side, no_wrap=name in names, overflow="fold")
    for n, line in zip(ns, lines, strict=True):
        top = that_fit(likeliest(score, tokens, n), room) or "not stored"
        table.add_row(*map(Text, line[: len(names)]), Text(top))
    return table


def _cells(score: ScoreRow, tokens: TokenMap, n: int) -> list[str]:
    """The columns of a supervised token but the last."""
    t = score["positions"][n]
    student, teacher = float(score["student_logp"][n]), float(score["teacher_logp"][n])
    return [
        str(t),
        token_name(tokens, score["response_ids"][t]),
        f"{score['divergence'][n]:.3f}",
        percent(math.exp(student)),
        percent(math.exp(teacher)),
        f"{nats(student)} {nats(teacher)}",
    ]


def that_fit(parts: Sequence[str], width: int) -> str:
    """As many of the parts as fit into a line, at least the first."""
    count = len(parts)
    while count > 1 and cell_len(", ".join(parts[:count])) > width:
        count -= 1
    return ", ".join(parts[:count])


def likeliest(score: ScoreRow, tokens: TokenMap, n: int) -> list[str]:
    """The teacher's likeliest ids at a token, with their probabilities: those kept to look at
    (score.show_top), else those of the support; none where neither is stored.
    """
    ids: Any = score["teacher_top_ids"]
    logps: Any = score["teacher_top_logp"]
    if not len(ids):
        ids, logps = score["support_ids"], score["support_logp"]
    if not len(ids):
        return []
    pairs = zip(logps[n], ids[n], strict=True)
    best = sorted(pairs, key=lambda pair: (-pair[0], pair[1]))[:LIKELY]
    return [f"{token_name(tokens, int(i))} {percent(math.exp(logp))}" for logp, i in best]


def largest(values: Any, count: int) -> list[int]:
    """The places of the `count` largest values, largest first, equal ones in order."""
    return sorted(range(len(values)), key=lambda n: (-float(values[n]), n))[:count]


def percent(share: float) -> str:
    """A share as `63.1%`; `<0.1%` where that would be 0."""
    return "<0.1%" if 0 < share < 0.0005 else f"{100 * share:.1f}%"


def nats(logp: float) -> str:
    """A log-probability with two decimals, and no sign before a zero."""
    return f"{round(logp, 2) + 0.0:.2f}"
