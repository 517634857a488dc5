"""Solved examples from the training data, shown to the student and the teacher as earlier turns."""

from collections.abc import Mapping, Sequence
from typing import Any

from rosd_core.graders.graders import GRADERS
from rosd_core.project.texts import worked_response

Example = dict[str, str]


def solved_examples(rows: Sequence[Mapping[str, Any]], count: int) -> list[Example]:
    """The `count` rows with the least text whose response their own grader accepts, rows with a
    worked solution before those with an answer alone. Fewer where there are not so many.
    """
    responses = ((row, worked_response(row)) for row in rows)
    ordered = sorted(
        responses,
        key=lambda pair: (pair[0]["solution"] is None, len(pair[0]["prompt"]) + len(pair[1])),
    )
    examples: list[Example] = []
    for row, response in ordered:
        if len(examples) == count:
            break
        if GRADERS[row["grader"]](response, row).success:
            examples.append({"problem": row["prompt"], "response": response})
    return examples
