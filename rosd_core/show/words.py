"""The values of status columns in words. A value that is not here is shown as it is."""

from collections.abc import Mapping

# a rollout that was not reflected on, or whose reflection cannot be used; align repeats these
_REFLECTED = {
    "no_idea": "the reflector's answer has no idea",
    "no_quote": "the reflector's answer has no error quote",
    "truncated": "the reflector's answer was cut off at reflect.max_new_tokens",
    "no_success": "no response of the group is correct, so the reflector has none to compare with",
    "disabled": "reflect.enabled is false",
    "not_in_file": "reflect.file has no row for it",
}
WORDS: Mapping[str, Mapping[str, str]] = {
    "reflection": {"ok": "the reflector's answer could be read", **_REFLECTED},
    "alignment": {
        **_REFLECTED,
        "supervised": "supervised",
        "quote_not_found": "no error quote was found in the response",
        "first_quote_not_found": "the first error quote was not found in the response",
        "no_token": "no token is left to supervise",
        "lone_success": "the only correct response of its group has no peer",
        "no_feedback": "correct responses get no feedback",
        "wrong": "align.wrong is skip",
        "correct": "align.correct is skip",
        "all_success": "all responses of the group are correct, and align.all_success is skip",
        "no_contrast": "align.weight needs a group with correct and wrong responses",
    },
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
        "too_long": "not trained on: the teacher's prompt and the response exceed its context",
        "negative_lift": "not trained on: the idea makes the error likelier (score.row_lift)",
        "no_divergence": "not trained on: no token exceeds score.divergence_threshold",
        "idea_rejected": "not trained on: the idea does not help with the correct peer "
        "(score.idea_check)",
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
    """The words for a value, or the value."""
    return WORDS[column].get(value, value)
