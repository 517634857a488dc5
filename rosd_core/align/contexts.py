"""Which teacher context a rollout gets, given `align.teacher_context`: a function for each value.

Each returns (the context of this row, None), or (None, the reason why there is nothing to read).
What the teacher reads in a context is in rosd_core/score/contexts.py.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from rosd_core.tables.row_types import ReflectionRow

if TYPE_CHECKING:
    from rosd_core.align.eligibility import AlignSettings

Chosen = tuple[str | None, str | None]


def _none(reflection: ReflectionRow, has_reference: bool, settings: "AlignSettings") -> Chosen:
    """The loss has no teacher."""
    return "none", None


def _plain(reflection: ReflectionRow, has_reference: bool, settings: "AlignSettings") -> Chosen:
    """Nothing: the teacher gets the student's own prompt."""
    return "plain", None


def _idea(reflection: ReflectionRow, has_reference: bool, settings: "AlignSettings") -> Chosen:
    """The idea; only with `mask: quote` must there be a quote, too."""
    idea_is_enough = settings.mask != "quote" and reflection["idea"] is not None
    if reflection["status"] == "ok" or idea_is_enough:
        return "idea", None
    return None, reflection["skip_reason"] or reflection["status"]


def _peer(reflection: ReflectionRow, has_reference: bool, settings: "AlignSettings") -> Chosen:
    """A correct response of the group, never the rollout itself; with `no_peer: reference` the
    data's solution where there is none.
    """
    if reflection["peer_id"] is not None:
        return "peer", None
    if settings.no_peer == "reference" and has_reference:
        return "reference", None
    return None, "no_success" if reflection["kind"] == "wrong" else "lone_success"


def _reference(reflection: ReflectionRow, has_reference: bool, settings: "AlignSettings") -> Chosen:
    """The data's solution; where there is none, a peer, as in OPSD."""
    return ("reference", None) if has_reference else _peer(reflection, has_reference, settings)


def _feedback(reflection: ReflectionRow, has_reference: bool, settings: "AlignSettings") -> Chosen:
    """The grader's words on a wrong attempt. A correct one is skipped: SDPO's feedback is on failed
    attempts (arXiv 2601.20802), and a teacher that reads "the answer is right" would only copy.
    """
    return ("feedback", None) if reflection["kind"] == "wrong" else (None, "no_feedback")


def _feedback_peer(
    reflection: ReflectionRow, has_reference: bool, settings: "AlignSettings"
) -> Chosen:
    """As in SDPO: a wrong rollout has its feedback and a peer, or its feedback alone where the
    group has no success; a correct one has a peer. A reference in place of a peer stands alone.
    """
    context, reason = _peer(reflection, has_reference, settings)
    if reflection["kind"] == "correct" or context == "reference":
        return context, reason
    return "feedback" if context is None else "feedback_peer", None


def _critique(reflection: ReflectionRow, has_reference: bool, settings: "AlignSettings") -> Chosen:
    """The response with a verdict on every line: a wrong one needs idea and quote with every mask,
    and the quote has to be found, which is seen later (see `needs_place`).
    """
    if reflection["status"] == "ok":
        return "critique", None
    return None, reflection["skip_reason"] or reflection["status"]


def needs_place(context: str, reflection: ReflectionRow) -> bool:
    """Whether the teacher's prompt cannot be written unless the first quote was found."""
    return context == "critique" and reflection["kind"] == "wrong"


# align.teacher_context -> (reflection, whether the data have a solution, settings) -> choice
CONTEXTS: dict[str, Callable[[ReflectionRow, bool, "AlignSettings"], Chosen]] = {
    "none": _none,
    "plain": _plain,
    "idea": _idea,
    "peer": _peer,
    "reference": _reference,
    "feedback": _feedback,
    "feedback_peer": _feedback_peer,
    "critique": _critique,
}
