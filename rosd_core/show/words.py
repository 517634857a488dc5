"""The values of status columns in words. A value that is not here is shown as it is."""

from collections.abc import Mapping

from rosd_core.report.page.reasons import REASONS

WORDS: Mapping[str, Mapping[str, str]] = {
    "policy": {
        "quote": "from the error quote on",
        "all": "the whole response",
        "divergence": "from the first token on that the teacher disagrees with",
        "drop": "nothing",
        "whole": "the whole response, since no quote was found",
        "from_first_difference": "from the first difference to the correct peer, "
        "since no quote was found",
    },
    "score": {
        "scored": "the teacher's targets are stored",
        "deferred": "distill runs the teacher; no targets are stored (score.targets: none)",
        "no_teacher": "this method has no teacher",
    },
    "context": {
        "idea": "the idea",
        "peer": "a correct response of the group",
        "reference": "the data's solution, or a correct response of the group",
        "feedback": "the response and the grader's feedback",
        "feedback_peer": "the response, the grader's feedback and a correct response of the group",
        "critique": "the response with a verdict on every line",
        "plain": "nothing but the problem",
    },
    "match": {
        "exact": "found",
        "normalised": "found after normalising",
        "ellipsis": "found, with a gap",
        "fuzzy": "found approximately",
        "head": "its beginning was found",
        "none": "not found",
    },
    "format": {
        "ok": "",
        "missing": "no answer was found",
        "malformed": "the answer cannot be read",
        "timeout": "the grader ran out of time",
        "error": "the grader failed",
    },
}


def in_words(column: str, value: str) -> str:
    """The words for a value: those of its column, else those of a reason, else the value."""
    words = WORDS.get(column, {})
    return words[value] if value in words else REASONS.get(value, value)
