"""The data of the page: columns as JSON, compressed, in blocks that the browser opens when it needs
them.

| block | holds |
| --- | --- |
| `index` | a value per rollout of every column that is filtered or listed, and the problems |
| `texts` | responses, ideas, quotes, feedback |
| `tokens-K` | the tokens of the rollouts K x CHUNK to (K + 1) x CHUNK - 1 |
| `vocabulary` | the strings of tokens |

All lists of a block are parallel: entry r belongs to rollout r of the page.
"""

import base64
import gzip
import json
from collections.abc import Mapping, Sequence
from typing import Any

from rosd_core.align.token_spans import TokenMap
from rosd_core.report.page.reasons import in_words
from rosd_core.report.page.tokens import Vocabulary, milli, supervised, token_ends, utf16_offsets

CHUNK = 200  # rollouts whose tokens are decompressed together


def pack(data: Any) -> str:
    """JSON, compressed with gzip, as base64: equal data, equal text."""
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    raw = gzip.compress(text.encode("utf-8", "surrogatepass"), compresslevel=6, mtime=0)
    return base64.b64encode(raw).decode()


class Codes:
    """Strings that repeat, each stored once; None is -1."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def code(self, name: str | None) -> int:
        if name is None:
            return -1
        if name not in self.names:
            self.names.append(name)
        return self.names.index(name)


class Page:
    """Collects rollouts; `blocks` are what the page embeds."""

    def __init__(self, iterations: Sequence[str], problems: Sequence[Mapping[str, Any]]) -> None:
        self.iterations = list(iterations)
        self.problem_at = {row["problem_id"]: n for n, row in enumerate(problems)}
        self.problems = [_problem(row) for row in problems]
        self.matches, self.outcomes = Codes(), Codes()
        self.index: dict[str, list[Any]] = {name: [] for name in INDEX}
        self.texts: dict[str, list[Any]] = {name: [] for name in TEXTS}
        self.tokens: list[dict[str, Any] | None] = []
        self.ids: dict[tuple[str, str], int] = {}
        self.vocabulary: Vocabulary | None = None

    def add(self, iteration: str, rows: Sequence[Mapping[str, Any]], token_map: TokenMap) -> None:
        """Add the rollouts of an iteration: rows of `outcomes` joined with texts and token columns
        (stages/report_page.py). All iterations have the vocabulary of the first one's tokenizer.
        """
        self.vocabulary = self.vocabulary or Vocabulary(token_map)
        start = len(self.tokens)
        for n, row in enumerate(rows):
            self.ids[iteration, row["rollout_id"]] = start + n
        for row in rows:
            self._add(iteration, row, token_map)

    def _add(self, iteration: str, row: Mapping[str, Any], token_map: TokenMap) -> None:
        offsets = utf16_offsets(row["response"])
        outcome = None if row["step"] is None else f"{row['step']}:{row['reason']}"
        self._append(
            self.index,
            iteration=self.iterations.index(iteration),
            problem=self.problem_at[row["problem_id"]],
            sample=row["sample"],
            success=int(row["success"]),
            reward=row["reward"],
            outcome=self.outcomes.code(outcome),
            match=self.matches.code(row["match"]),
            tokens=len(row["response_ids"]),
            supervised=row["supervised"] or 0,
            divergence=_milli(row["divergence"]),
            worth=_milli(row["worth"]),
        )
        peer = self.ids.get((iteration, row["peer_id"]), -1) if row["peer_id"] else -1
        self._append(
            self.texts,
            response=row["response"],
            parsed=row["parsed_answer"],
            feedback=row["feedback"],
            format=row["answer_format"],
            finish=row["finish_reason"],
            idea=row["idea"],
            raw=row["raw"] if row["step"] in ("parse", "locate") else None,
            peer=peer,
            peer_id=row["peer_id"],
            quotes=[_quote(quote, offsets) for quote in row["quotes"] or []],
        )
        spans = token_map.spans(row["response_ids"], row["response"])
        entry: dict[str, Any] = {"ends": token_ends(spans, offsets)}
        if row["step"] is None and row["scored"] is not None:
            assert self.vocabulary is not None
            entry |= supervised(row["scored"], self.vocabulary)
        elif row["positions"] is not None:
            entry["at"] = list(row["positions"])
        self.tokens.append(entry)

    @staticmethod
    def _append(columns: dict[str, list[Any]], **values: Any) -> None:
        for name, value in values.items():
            columns[name].append(value)

    def blocks(self) -> dict[str, str]:
        """Names and compressed contents, to embed."""
        keys = [name.split(":", 1) for name in self.outcomes.names]
        index = self.index | {
            "iterations": self.iterations,
            "problems": self.problems,
            "matches": self.matches.names,
            "outcomes": [[step, reason, in_words(reason)] for step, reason in keys],
            "chunk": CHUNK,
        }
        strings = self.vocabulary.strings if self.vocabulary else []
        blocks = {"index": index, "texts": self.texts, "vocabulary": strings}
        for first in range(0, len(self.tokens), CHUNK):
            blocks[f"tokens-{first // CHUNK}"] = self.tokens[first : first + CHUNK]
        return {name: pack(data) for name, data in blocks.items()}


INDEX = (
    "iteration", "problem", "sample", "success", "reward", "outcome", "match", "tokens",
    "supervised", "divergence", "worth",
)  # fmt: skip
TEXTS = (
    "response", "parsed", "feedback", "format", "finish", "idea", "raw", "peer", "peer_id",
    "quotes",
)  # fmt: skip


def _milli(value: float | None) -> int:
    return -1 if value is None else milli([value])[0]


def _problem(row: Mapping[str, Any]) -> dict[str, Any]:
    names = ("problem_id", "domain", "system", "prompt", "answer", "solution")
    return {name: row[name] for name in names}


def _quote(quote: Mapping[str, Any], offsets: Any) -> list[Any]:
    """[text, match, start, end] with the place in UTF-16 units; -1 where it was not found."""
    start, end = quote["char_start"], quote["char_end"]
    place = [-1, -1] if start is None else [int(offsets[start]), int(offsets[end])]
    return [quote["quote"], quote["match"], *place]
