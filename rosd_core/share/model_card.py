"""The model card (README.md) of an exported checkpoint."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ruamel.yaml import YAML

from rosd_core.config.methods import method_of
from rosd_core.share.header import header, table, without_folders

PAPER = "https://arxiv.org/abs/2605.28014"
SHOWN = ("rollout", "reflect", "align", "score", "distill", "evaluate")
TEACHERS = {
    "base": "the base model, frozen",
    "current": "the weights that sampled the responses of the iteration",
    "ema": "a running mean of the weights",
    "trust_region": "a mix of the base model's logits and those of the weights that sampled",
}


@dataclass(frozen=True)
class Base:
    """The base model: its id on the hub, or the name of its folder; licence where known."""

    name: str
    on_hub: bool
    revision: str | None
    license: str | None


@dataclass(frozen=True)
class ModelFacts:
    """What a card is written from. `metrics`: stage -> metrics of this iteration; `before` and
    `after`: evaluation metrics by domain of the base model and of this one.
    """

    base: Base
    iteration: str
    iterations: Sequence[str]  # up to this one
    settings: Mapping[str, Any]  # nested, as in params.yaml
    metrics: Mapping[str, Mapping[str, Any]]
    before: Mapping[str, Mapping[str, float]]
    after: Mapping[str, Mapping[str, float]]
    trained: Mapping[str, int]  # domain -> problems to train on


def model_card(facts: ModelFacts) -> str:
    """The whole README.md."""
    method = method_of(facts.settings)
    parts = [
        _header(facts),
        f"# {facts.base.name}, trained with {method} ({facts.iteration})\n",
        _made(facts, method),
        "## Use\n\n" + _use(facts.settings["prompts"]),
        "## Results\n\n" + _results(facts),
        "## Training\n\n" + _training(facts),
        "## Licence\n\n" + _licence(facts.base),
    ]
    return "\n".join(parts)


def teacher_of(settings: Mapping[str, Any]) -> str:
    """Who the teacher was, and what it read beside the problem."""
    context = settings["align"]["teacher_context"]
    if context == "none":
        return "There was no teacher."
    teacher = settings["score"]["teacher"]
    if isinstance(teacher, Mapping):
        who = f"another model, `{without_folders(teacher['model'])}`"
    else:
        who = TEACHERS[teacher]
    return f"The teacher was {who}; beside the problem it read: `{context}`."


def _header(facts: ModelFacts) -> str:
    data: dict[str, Any] = {
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["rosd", "self-distillation"],
    }
    if facts.base.license:
        data["license"] = facts.base.license
    if facts.base.on_hub:
        data |= {"base_model": facts.base.name, "base_model_relation": "finetune"}
    return header(data)


def _made(facts: ModelFacts, method: str) -> str:
    base = facts.base
    at = f" (revision `{base.revision}`)" if base.revision else ""
    return (
        f"Made from `{base.name}`{at} with the pipeline of [ROSD]({PAPER}), method `{method}`, "
        f"iterations: {', '.join(facts.iterations)}. {teacher_of(facts.settings)}\n"
    )


def _use(prompts: Mapping[str, Any]) -> str:
    examples = prompts["examples"]["plain"]
    turns = "".join(f"\n{_fenced(row['problem'])}\n{_fenced(row['response'])}" for row in examples)
    earlier = (
        "\nSolved problems came before it as earlier turns, each in the template and with its "
        f"answer:\n{turns}"
    )
    return f"""```python
from transformers import AutoModelForCausalLM, AutoTokenizer

name = "."  # this folder, or its id on the hub
model, tokenizer = AutoModelForCausalLM.from_pretrained(name), AutoTokenizer.from_pretrained(name)
chat = [{{"role": "user", "content": "..."}}]
inputs = tokenizer.apply_chat_template(
    chat, add_generation_prompt=True, return_tensors="pt", return_dict=True
)
print(tokenizer.decode(model.generate(**inputs, max_new_tokens=256)[0]))
```

The user's message was made from this template in training (jinja2):

{_fenced(prompts["plain"])}{earlier if examples else ""}"""


def _fenced(text: str) -> str:
    return f"````\n{text}\n````\n"


def _results(facts: ModelFacts) -> str:
    evaluate = facts.settings["evaluate"]
    rows = [
        [f"{domain} *" if domain in facts.trained else domain]
        + [_percent(of[domain]) for of in (facts.before, facts.after)]
        + [f"{100 * (facts.after[domain]['mean'] - facts.before[domain]['mean']):+.1f}"]
        for domain in facts.after
    ]
    return (
        f"mean@{evaluate['samples']} in percent with its {100 * evaluate['confidence']:g} % "
        f"confidence interval over problems (temperature {evaluate['temperature']:g}, top_p "
        f"{evaluate['top_p']:g}).\n\n"
        + table(["domain", "base", facts.iteration, "gain in points"], rows)
        + "\n\\* trained on; the others are out of domain.\n"
    )


def _percent(of: Mapping[str, float]) -> str:
    return f"{100 * of['mean']:.1f} [{100 * of['low']:.1f}, {100 * of['high']:.1f}]"


def _training(facts: ModelFacts) -> str:
    m, text, yaml = facts.metrics, io.StringIO(), YAML()
    shown = without_folders({name: facts.settings[name] for name in SHOWN})
    del shown["reflect"]["url"]
    yaml.dump(shown, text)
    rows = [
        ["rollouts", str(m["rollout"]["rollouts"])],
        ["of them correct", f"{100 * m['rollout']['success_share']:.1f} %"],
        ["supervised rollouts", str(m["distill"]["rows"])],
        ["supervised tokens", str(m["distill"]["supervised_tokens"])],
        ["optimizer steps", str(m["distill"]["steps"])],
    ]
    sources = facts.settings["prepare"]["domains"]
    domains = ", ".join(
        f"`{name}` ({count} problems, task `{sources[name]['task']}`)"
        for name, count in facts.trained.items()
    )
    return (
        f"Trained on {domains}. The last iteration, {facts.iteration}:\n\n"
        + table(["quantity", "value"], rows)
        + f"\n<details><summary>Settings</summary>\n\n```yaml\n{text.getvalue()}```\n\n</details>\n"
    )


def _licence(base: Base) -> str:
    if base.license:
        return f"That of the base model: `{base.license}`.\n"
    return f"That of the base model, `{base.name}`, which is not known here: look it up.\n"
