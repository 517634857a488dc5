"""Solved examples from the training data, shown to the student and the teacher as earlier turns."""

from collections.abc import Mapping, Sequence
from typing import Any

from rosd_core.graders.graders import GRADERS
from rosd_core.project.texts import worked_response

Example = dict[str, str]


def solved_examples(rows: Sequence[Mapping[str, Any]], count: int) -> list[Example]:
    """The first `count` rows with a solution that is no longer than the median one and that their
    own grader accepts. Fewer where there are not so many.
    """
    solved = [(row, response) for row in rows if (response := worked_response(row)) is not None]
    lengths = sorted(len(response) for _, response in solved)
    examples: list[Example] = []
    for row, response in solved:
        short = len(response) <= lengths[len(lengths) // 2]
        if len(examples) < count and short and GRADERS[row["grader"]](response, row).success:
            examples.append({"problem": row["prompt"], "response": response})
    return examples
