"""Graders: a response and a gold answer in, a verdict out. A model's text is never executed or
evaluated.
"""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Verdict:
    """`reward` in [0, 1]; `parsed` is None where no answer was found; `feedback` is fit for a
    teacher's prompt.
    """

    reward: float
    parsed: str | None
    feedback: str

    @property
    def success(self) -> bool:
        return self.reward >= 0.5


def answer_line(response: str, gold: str) -> Verdict:
    """The text after the last `Answer:` up to the end of its line, stripped, equals the gold
    answer.
    """
    _, mark, rest = response.rpartition("Answer:")
    if not mark:
        return Verdict(0.0, None, "There is no line 'Answer: ...'.")
    parsed = rest.split("\n", 1)[0].strip()
    if parsed == gold.strip():
        return Verdict(1.0, parsed, "The answer is right.")
    return Verdict(0.0, parsed, f"The answer {parsed!r} is wrong.")


GRADERS: dict[str, Callable[[str, str], Verdict]] = {"answer_line": answer_line}
