"""Responses that come from elsewhere: drawn with another program, or by another model.

The table (JSON lines, CSV or Parquet) has a row per response, with the columns

| column | content |
| --- | --- |
| problem_id or prompt | as in problems.parquet; white space around a prompt does not matter |
| response | the text of the response |
| response_ids | optional: its token ids, the end token included |
| behaviour_logp | optional, with response_ids: each token's log-probability when sampled, nats |
| finish_reason | optional: stop (the default) or length, for a response that was cut off |

The samples of a problem need not be equally many. A row that cannot be used is left out and
counted; a row that contradicts itself is an error.

Memory holds a part of the file; what is used goes to a table of its own (given_table.py).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from rosd_core.errors import RosdError
from rosd_core.prompts.chat import decode
from rosd_core.rollout.given_table import GivenSample, write_samples
from rosd_core.tables.hashing import text_hash

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

ROUNDING = 1e-3  # nats that a log-probability may exceed 0 by
INTEGERS, NUMBERS = "lists of whole numbers", "lists of numbers"
REASONS = {
    "no_problem": "of no problem in problems.parquet",
    "test_problem": "of a problem of split test",
    "empty": "empty",
    "too_long": "longer than rollout.max_new_tokens",
    "not_encodable": "texts that the tokenizer does not give back (unknown characters, or special "
    "tokens in the text)",
}


@dataclass
class GivenSamples:
    """How many samples each problem has, the rows that are left out by reason, and how many rows
    repeat a response of their problem (they are used).
    """

    sizes: dict[str, int] = field(default_factory=dict)
    left_out: dict[str, list[int]] = field(default_factory=lambda: {name: [] for name in REASONS})
    repeated: int = 0

    def metrics(self) -> dict[str, int]:
        """Counts of what was left out and of what was repeated."""
        counts = {f"left_out_{name}": len(rows) for name, rows in self.left_out.items()}
        return counts | {"repeated": self.repeated}

    def message(self, file: str) -> str | None:
        """What was left out, with the first row of each reason; None where nothing was."""
        used, lost = sum(self.sizes.values()), sum(map(len, self.left_out.values()))
        if not lost:
            return None
        parts = [
            f"{len(rows)} {REASONS[name]} (first: row {rows[0]})"
            for name, rows in self.left_out.items()
            if rows
        ]
        return f"{file}: {used} of {used + lost} rows are used; left out are {', '.join(parts)}."


@dataclass(frozen=True)
class Encoding:
    """The student's tokenizer, all ids that end a response, and the most tokens of a response."""

    tokenizer: "PreTrainedTokenizerBase"
    stop_ids: Sequence[int]
    max_tokens: int

    def ids(self, text: str, finish_reason: str) -> list[int]:
        """A text as the ids of a response, with the end token unless it was cut off. Raises
        RosdError for a tokenizer without an end token.
        """
        ids: Any = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        end = self.tokenizer.eos_token_id
        if not isinstance(end, int):
            raise RosdError(
                f"{self.tokenizer.name_or_path}: the tokenizer has no end token; write the column "
                "response_ids."
            )
        return [*ids, end] if finish_reason == "stop" else list(ids)


def keep_samples(
    parts: Iterable[pl.DataFrame],
    file: str,
    problems: pl.DataFrame,
    encoding: Encoding,
    kept: Path,
) -> GivenSamples:
    """Write the samples of a file in the layout above, which comes in parts, to the table `kept`,
    for the problems of split train.

    Raises RosdError, naming the file and the row, for a missing column, a column of another type, a
    missing value, an unknown problem_id, token ids that are not those of the response, and
    log-probabilities that do not fit them; and where no row can be used.
    """
    found, rows = GivenSamples(), _RowReader(file, problems, encoding)
    write_samples(kept, rows.usable(parts, found))
    if not found.sizes:
        told = found.message(file) or f"{file}: the file has no row."
        raise RosdError(f"{told} Nothing is left to train on.")
    return found


class _RowReader:
    """Checks the rows of a file and takes the samples from them."""

    def __init__(self, file: str, problems: pl.DataFrame, encoding: Encoding) -> None:
        self.file, self.encoding = file, encoding
        self.split_of = dict(problems.select("problem_id", "split").iter_rows())
        named = problems.select("prompt", "problem_id").iter_rows()
        self.prompt_of = {problem_id: prompt.strip() for prompt, problem_id in named}
        self.by_prompt = {prompt: problem_id for problem_id, prompt in self.prompt_of.items()}
        self.seen: set[tuple[str, bytes]] = set()

    def usable(
        self, parts: Iterable[pl.DataFrame], found: GivenSamples
    ) -> Iterator[tuple[str, GivenSample]]:
        """The samples that are used, with their problems; `found` counts them and the others."""
        number = 0
        for part in parts:
            _check_columns(part, f"{self.file}: rows from {number}" if number else self.file)
            for row in part.iter_rows(named=True):
                place = f"{self.file}: row {number}"
                problem_id, text = self._problem(place, row), row.get("response")
                if text is None:
                    raise RosdError(f"{place}: response is missing.")
                sample = self._usable(place, row, problem_id)
                if isinstance(sample, str):
                    found.left_out[sample].append(number)
                else:
                    assert problem_id is not None
                    found.repeated += self._again(problem_id, text)
                    found.sizes[problem_id] = found.sizes.get(problem_id, 0) + 1
                    yield problem_id, sample
                number += 1

    def _problem(self, place: str, row: Mapping[str, Any]) -> str | None:
        """The problem of a row: by its id where it has one, else by its prompt; None where no
        problem has the prompt. Raises RosdError where the two are of different problems.
        """
        by_id = row.get("problem_id") is not None or "prompt" not in row
        name = "problem_id" if by_id else "prompt"
        if row.get(name) is None:
            raise RosdError(f"{place}: {name} is missing.")
        if name == "prompt":
            return self.by_prompt.get(row[name].strip())
        if row[name] not in self.split_of:
            raise RosdError(f"{place}: there is no problem {row[name]!r} in problems.parquet.")
        prompt = (row.get("prompt") or "").strip()
        other = self.by_prompt.get(prompt)
        if other is not None and prompt != self.prompt_of[row[name]]:
            raise RosdError(f"{place}: has the id of {row[name]} and the prompt of {other}.")
        return row[name]

    def _usable(
        self, place: str, row: Mapping[str, Any], problem_id: str | None
    ) -> GivenSample | str:
        """The sample of a row, or the key of REASONS why it is left out."""
        if problem_id is None:
            return "no_problem"
        if self.split_of[problem_id] != "train":
            return "test_problem"
        sample = _sample(place, row, self.encoding)
        return _unusable(row["response"], sample, self.encoding) or sample

    def _again(self, problem_id: str, text: str) -> bool:
        """Whether the problem had this response before."""
        response = problem_id, text_hash(text)
        again = response in self.seen
        self.seen.add(response)
        return again


def _check_columns(table: pl.DataFrame, file: str) -> None:
    """Raises RosdError for a column that is missing or of another type."""
    columns = table.columns
    if "response" not in columns or not {"problem_id", "prompt"} & set(columns):
        raise RosdError(
            f"{file}: needs the columns response, and problem_id or prompt; there are: "
            f"{', '.join(columns)}."
        )
    if "behaviour_logp" in columns and "response_ids" not in columns:
        raise RosdError(
            f"{file}: behaviour_logp needs response_ids beside it: without them, nobody knows "
            "which tokens these are of."
        )
    wanted = dict.fromkeys(("problem_id", "prompt", "response", "finish_reason"), "text")
    wanted |= {"response_ids": INTEGERS, "behaviour_logp": NUMBERS}
    for name, what in wanted.items():
        if name in columns and not _is(table.schema[name], what):
            raise RosdError(f"{file}: column {name} holds {table.schema[name]}, not {what}.")


def _is(kind: pl.DataType, what: str) -> bool:
    if kind == pl.Null or what == "text":
        return kind in (pl.Null, pl.String)
    if not isinstance(kind, pl.List):
        return False
    inner: Any = kind.inner
    return inner == pl.Null or (inner.is_integer() if what == INTEGERS else inner.is_numeric())


def _sample(place: str, row: Mapping[str, Any], encoding: Encoding) -> GivenSample:
    """The sample of a row. Raises RosdError where its ids or log-probabilities do not fit."""
    text, ids, reason = row["response"], row.get("response_ids"), row.get("finish_reason")
    if reason not in (None, "stop", "length"):
        raise RosdError(f"{place}: finish_reason is {reason!r}; it is stop or length.")
    if ids is None:
        if row.get("behaviour_logp") is not None:
            raise RosdError(f"{place}: behaviour_logp needs response_ids beside it.")
        reason = reason or "stop"
        return GivenSample(encoding.ids(text, reason), None, reason)
    size = len(encoding.tokenizer)
    if not all(token is not None and 0 <= token < size for token in ids):
        raise RosdError(f"{place}: response_ids has ids that are not 0 to {size - 1}.")
    if decode(encoding.tokenizer, ids) != text:
        raise RosdError(
            f"{place}: response_ids are not the response in the student's tokenizer; leave the "
            "column out, and the text is encoded."
        )
    ended = bool(ids) and ids[-1] in encoding.stop_ids
    return GivenSample(list(ids), _logp(place, row, len(ids)), "stop" if ended else "length")


def _logp(place: str, row: Mapping[str, Any], tokens: int) -> list[float] | None:
    logp = row.get("behaviour_logp")
    if logp is None:
        return None
    if len(logp) != tokens:
        raise RosdError(f"{place}: {len(logp)} values of behaviour_logp for {tokens} tokens.")
    for value in logp:
        if value is None or not -float("inf") < value <= ROUNDING:
            raise RosdError(
                f"{place}: behaviour_logp holds {value}; log-probabilities are finite and at most "
                "0."
            )
    return [float(value) for value in logp]


def _unusable(text: str, sample: GivenSample, encoding: Encoding) -> str | None:
    """The key of REASONS why a row is left out; None where it is used."""
    if not text.strip():
        return "empty"
    if len(sample.token_ids) > encoding.max_tokens:
        return "too_long"
    return None if decode(encoding.tokenizer, sample.token_ids) == text else "not_encodable"
