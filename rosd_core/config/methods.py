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
    "grpo-kl": {
        "reflect.enabled": False,
        "align.teacher_context": "plain",
        "align.mask": "all",
        "align.wrong": "use",
        "align.weight": "advantage",
        "distill.loss": "policy_gradient_kl",
    },
    "opsa": {
        "reflect.enabled": False,
        "align.teacher_context": "none",
        "align.mask": "all",
        "align.wrong": "use",
        "align.weight": "one",
        "distill.loss": "fixed_advantage",
    },
}


def set_keys(params: MutableMapping, values: Mapping[str, Any]) -> None:
    """Set values of nested params in place; names are paths such as `distill.alpha`."""
    for name, value in values.items():
        *sections, key = name.split(".")
        section = params
        for part in sections:
            section = section[part]
        section[key] = value


def method_of(settings: Mapping[str, Any]) -> str:
    """The name of the method with these params (nested, as in params.yaml), or `own settings`."""

    def holds(key: str, value: str | bool) -> bool:
        section, name = key.split(".")
        return settings[section].get(name) == value

    names = (name for name, m in METHODS.items() if all(holds(k, v) for k, v in m.items()))
    return next(names, "own settings")
