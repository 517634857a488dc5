"""The methods: settings over the same tables. To add one, add an entry with the same keys."""

from collections.abc import Mapping, MutableMapping
from typing import Any

METHODS: dict[str, dict[str, str | bool]] = {
    "rosd": {
        "reflect.enabled": True,
        "align.teacher_context": "idea",
        "align.mask": "quote",
        "align.wrong": "use",
        "align.weight": "one",
        "distill.loss": "divergence",
    },
    "rosd-no-localize": {
        "reflect.enabled": True,
        "align.teacher_context": "idea",
        "align.mask": "all",
        "align.wrong": "use",
        "align.weight": "one",
        "distill.loss": "divergence",
    },
    "rosd-no-idea": {
        "reflect.enabled": True,
        "align.teacher_context": "peer",
        "align.mask": "quote",
        "align.wrong": "use",
        "align.weight": "one",
        "distill.loss": "divergence",
    },
    "rosd-critique": {
        "reflect.enabled": True,
        "align.teacher_context": "critique",
        "align.mask": "quote",
        "align.wrong": "use",
        "align.weight": "one",
        "distill.loss": "divergence",
    },
    "sdpo": {
        "reflect.enabled": False,
        "align.teacher_context": "peer",
        "align.mask": "all",
        "align.wrong": "use",
        "align.weight": "one",
        "distill.loss": "divergence",
    },
    "sdpo-feedback": {
        "reflect.enabled": False,
        "align.teacher_context": "feedback_peer",
        "align.mask": "all",
        "align.wrong": "use",
        "align.weight": "one",
        "distill.loss": "divergence",
    },
    "opsd": {
        "reflect.enabled": False,
        "align.teacher_context": "reference",
        "align.mask": "all",
        "align.wrong": "use",
        "align.weight": "one",
        "distill.loss": "divergence",
    },
    "sft": {
        "reflect.enabled": False,
        "align.teacher_context": "none",
        "align.mask": "all",
        "align.wrong": "skip",
        "align.weight": "one",
        "distill.loss": "cross_entropy",
    },
    "grpo": {
        "reflect.enabled": False,
        "align.teacher_context": "none",
        "align.mask": "all",
        "align.wrong": "use",
        "align.weight": "advantage",
        "distill.loss": "policy_gradient",
    },
}


def set_keys(params: MutableMapping, values: Mapping[str, Any]) -> None:
    """Set `section.key` values in nested params, in place."""
    for name, value in values.items():
        section, _, key = name.partition(".")
        params[section][key] = value
