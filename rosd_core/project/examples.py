"""Solved examples from the training data, shown to the student and the teacher as earlier turns."""

from collections.abc import Mapping, Sequence
from typing import Any

from rosd_core.graders.graders import GRADERS
from rosd_core.project.texts import worked_response

Example = dict[str, str]


def solved_examples(rows: Sequence[Mapping[str, Any]], count: int) -> list[Example]:
    """The first `count` rows whose response their own grader accepts, rows with a worked solution
    before those with an answer alone. Rows with more text than half of all rows are left out, since
    every prompt repeats the examples. Fewer where there are not so many.
    """
    pairs = [(row, worked_response(row)) for row in rows]
    sizes = sorted(len(row["prompt"]) + len(response) for row, response in pairs)
    examples: list[Example] = []
    for row, response in sorted(pairs, key=lambda pair: pair[0]["solution"] is None):
        short = len(row["prompt"]) + len(response) <= sizes[len(sizes) // 2]
        if len(examples) < count and short and GRADERS[row["grader"]](response, row).success:
            examples.append({"problem": row["prompt"], "response": response})
    return examples
