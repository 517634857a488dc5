"""Every reason for which a rollout is not trained on, in words."""

REASONS = {
    "no_success": "no rollout of its group is correct, so there is no peer to compare with",
    "disabled": "reflections are off (reflect.enabled)",
    "not_in_file": "the file of reflections has none for it (reflect.file)",
    "no_idea": "the reflector wrote no corrective idea",
    "no_quote": "the reflector quoted no error",
    "truncated": "the reflection was cut at reflect.max_new_tokens",
    "quote_not_found": "the quote is not in the response",
    "first_quote_not_found": "the first quote is not in the response, a later one is",
    "no_token": "no token is left to supervise (align.skip_thinking, align.skip_first)",
    "lone_success": "it is the only success of its group, so it has no peer",
    "no_feedback": "the grader says nothing about a correct response",
    "wrong": "wrong responses are left out (align.wrong)",
    "correct": "correct responses are left out (align.correct)",
    "all_success": "all rollouts of its group are correct (align.all_success)",
    "no_contrast": "all rewards of its group are equal (align.weight)",
    "too_long": "teacher prompt and response exceed the model's context",
    "negative_lift": "its idea makes its error likelier (score.row_lift)",
    "no_divergence": "the teacher disagrees nowhere (score.divergence_threshold)",
    "idea_rejected": "the idea does not make the correct peer likelier (score.idea_check)",
    "not_yet": "the table that decides it is not there yet",
    "not_in_scores": "it is missing in the table scores",
}


def in_words(reason: str) -> str:
    """A sentence for a reason; an unknown one stands for itself."""
    return REASONS.get(reason, reason)
