"""The methods compared, as settings over the same tables."""

from typing import Any


# Methods as settings over the same tables; see the README.
def _method(enabled: bool, context: str, mask: str, **more: str) -> dict[str, Any]:
    """The settings of a method by key; those not given are ROSD's."""
    usual = {"align.wrong": "use", "align.weight": "one", "distill.loss": "divergence"}
    given = {key.replace("_", ".", 1): value for key, value in more.items()}
    asked = {"reflect.enabled": enabled, "align.teacher_context": context, "align.mask": mask}
    return asked | usual | given


METHODS: dict[str, dict[str, Any]] = {
    "rosd": _method(True, "idea", "quote"),
    "rosd-no-localize": _method(True, "idea", "all"),
    "rosd-no-idea": _method(True, "peer", "quote"),
    "sdpo": _method(False, "peer", "all"),
    "opsd": _method(False, "reference", "all"),
    "sft": _method(False, "none", "all", align_wrong="skip", distill_loss="cross_entropy"),
    "grpo": _method(False, "none", "all", align_weight="advantage", distill_loss="policy_gradient"),
}
