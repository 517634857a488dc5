"""How long prompts will be, in tokens: templates filled with problems, by the model's tokenizer, or
by their characters where there is none.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

from rosd_core.plan.known import Known
from rosd_core.plan.problems import Row
from rosd_core.prompts.chat import encode_chat
from rosd_core.prompts.templates import Messages

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

CHARACTERS = 4  # of a token, without a tokenizer
AROUND = 5  # tokens that a chat template puts around a message


@dataclass(frozen=True)
class Ruler:
    """Counts tokens; `tokenizer` None: a fourth of the characters."""

    tokenizer: "PreTrainedTokenizerBase | None"

    @property
    def origin(self) -> str:
        return "" if self.tokenizer is not None else f", at {CHARACTERS} characters a token"

    def ids(self, messages: Messages, thinking: bool = False) -> list[int]:
        """Token ids, or stand-ins that are equal at the start where the texts are."""
        if self.tokenizer is not None:
            return encode_chat(self.tokenizer, messages, thinking)
        ids: list[int] = []
        for message in messages:
            text = message["content"]
            parts = (text[n : n + CHARACTERS] for n in range(0, len(text), CHARACTERS))
            ids += [*range(AROUND), *(hash(part) for part in parts)]
        return ids


@dataclass(frozen=True)
class PromptLengths:
    """Of one kind of prompt: mean and longest; how many tokens at their start all have in common,
    and how many those of one problem.
    """

    mean: Known
    longest: float
    shared: float
    of_problem: float

    @property
    def value(self) -> float:
        return self.mean.value


def common(a: Sequence[int], b: Sequence[int]) -> int:
    """How many ids two sequences have in common at their start."""
    return next(
        (n for n, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b))
    )


def measured(
    rows: Sequence[Row],
    build: Callable[..., Messages],
    parts: Sequence[str],
    ruler: Ruler,
    most: int,
) -> PromptLengths:
    """Of a template filled with each problem; `parts` are the names of further fields, which stay
    empty: what stands in them is added by the caller. `most`: max_prompt_tokens.
    """
    if not rows:
        half = most / 2
        return PromptLengths(Known(half, "assumed: half of max_prompt_tokens"), most, 0, half)

    def ids(row: Row, text: str) -> list[int]:
        fields = {name: text for name in parts if name != "gold"}
        gold = {"gold": row["answer"]} if "gold" in parts else {}
        return ruler.ids(build(problem=row["prompt"], system=row["system"], **gold, **fields))

    built = [ids(row, "") for row in rows]
    sizes = [min(len(prompt), most) for prompt in built]
    shared = min(common(built[0], other) for other in built[1:]) if len(built) > 1 else 0
    own = common(ids(rows[0], "a"), ids(rows[0], "b")) if parts else len(built[0])
    ratio = own / len(built[0])
    mean = Known(fmean(sizes), f"{len(rows)} problems{ruler.origin}")
    return PromptLengths(mean, max(sizes), min(shared, *sizes), ratio * mean.value)


def with_more(prompt: PromptLengths, tokens: float, most: int) -> PromptLengths:
    """The prompts with so many tokens in the fields that were empty, cut at `most`."""
    mean = Known(min(most, prompt.value + tokens), prompt.mean.origin)
    longest = min(most, prompt.longest + 2 * tokens)
    return PromptLengths(mean, longest, prompt.shared, min(prompt.of_problem, mean.value))
