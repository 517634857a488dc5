"""What a run of a stage is made from, and whether the tables that it reads still are what they were
made from.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rosd_core.config.params import Params
from rosd_core.errors import RosdError
from rosd_core.tables.hashing import file_hash, fingerprint, tokenizer_fingerprint
from rosd_core.tables.io import check_schema
from rosd_core.tables.origin import Origin, refuse_stale
from stages.paths import KEYS, OUTPUTS, Paths

# the params of dvc.yaml that a stage's table depends on; `machine` and `engine` say where and how
# fast it is made
PARAMS = {
    "prepare": ("prepare",),
    "rollout": (
        "loop.{key}", "prompts.examples.plain", "prompts.plain", "prompts.thinking.student",
        "rollout",
    ),
    "reflect": (
        "loop.{key}", "prompts.examples.reflect_correct", "prompts.examples.reflect_wrong",
        "prompts.reflect_correct", "prompts.reflect_wrong", "prompts.thinking.reflector", "reflect",
    ),
    "align": ("align", "loop.{key}"),
    "score": (
        "loop.{key}", "prompts.examples.plain", "prompts.plain", "prompts.thinking.teacher",
        "prompts.with_critique", "prompts.with_feedback", "prompts.with_idea",
        "prompts.with_solution", "rollout", "score",
    ),
    "distill": ("distill", "loop.{key}", "score"),
    "evaluate": (
        "evaluate", "prompts.examples.plain", "prompts.plain", "prompts.thinking.student",
    ),
}  # fmt: skip
# no value depends on them
WITHOUT = (
    "batch_tokens", "offload", "save_every", "shard_problems", "shard_rows", "sharding",
)  # fmt: skip
TABLES = {"prepare": "problems", "rollout": "rollouts", "reflect": "reflections",
          "align": "alignments", "score": "scores", "evaluate": "evaluation"}  # fmt: skip
# the stages whose tables a stage reads
READS = {
    "prepare": (),
    "rollout": ("prepare",),
    "reflect": ("prepare", "rollout"),
    "align": ("prepare", "rollout", "reflect"),
    "score": ("prepare", "rollout", "reflect", "align"),
    "distill": ("score",),
    "evaluate": ("prepare",),
}
# the models that it reads; align reads the tokenizer alone
MODELS = {
    "rollout": ("{start}",),
    "reflect": ("{start}",),
    "align": ("{start}",),
    "score": ("base", "{start}"),
    "distill": ("base", "{start}"),
    "evaluate": ("{key}",),
}


def origin_of(params: Params, paths: Paths, stage: str, key: str) -> Origin:
    """The origin of what a stage writes now. Raises RosdError for the first table that it reads
    which is missing, or was made from something else than what is there now.
    """
    inputs = {}
    for name in MODELS.get(stage, ()):
        name = name.format(key=key, start=params.loop[key].start if key in params.loop else key)
        folder = paths.model_folder(name)
        inputs[f"models/{name}/tokenizer"] = tokenizer_fingerprint(folder)
        if stage != "align":
            inputs[f"models/{name}"] = fingerprint(folder)
    for before in READS[stage]:
        inputs |= refuse_stale_table(params, paths, before, KEYS.get(before, key), inputs)
    inputs |= given_file(params, paths, stage, key)
    return Origin(stage, key, params_of(params, stage, key), inputs)


def made_with(params: Params, stage: str, key: str) -> dict[str, str]:
    """A hash of the values that a stage reads, for its metrics: models have no place for an
    origin.
    """
    text = json.dumps(params_of(params, stage, key))
    return {"settings": hashlib.sha256(text.encode()).hexdigest()[:16]}


def trained_otherwise(params: Params, paths: Paths, key: str) -> str | None:
    """What to tell of an iteration's model that was trained with other params; None of others."""
    file = paths.metrics("distill", key)
    found = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    if made_with(params, "distill", key).items() <= found.items():
        return None
    return (
        f"models/{key}: trained with other values of distill or score than those of params.yaml. "
        f"Run `rosd distill {key}` again, or put them back."
    )


def refuse_stale_iterations(params: Params, paths: Paths, keys: Sequence[str]) -> None:
    """Raises RosdError for the first table or model of these iterations that is missing, or was
    made with other params or from other inputs than those that are there now.
    """
    for key in keys:
        for stage in ("rollout", "reflect", "align", "score"):
            refuse_stale_table(params, paths, stage, key, {})
        if told := trained_otherwise(params, paths, key):
            raise RosdError(told)


def report_origin(params: Params, paths: Paths) -> Origin:
    """As `origin_of`, for the report, which reads the evaluations of all models."""
    inputs = {}
    for key in ("base", *params.loop):
        inputs |= refuse_stale_table(params, paths, "evaluate", key, {})
    return Origin("report", "all", {}, inputs)


def refuse_stale_table(
    params: Params, paths: Paths, stage: str, key: str, known: Mapping[str, str]
) -> dict[str, str]:
    """The name and the fingerprint of the table of a stage. Raises RosdError where it was made from
    other params, or other inputs: those that are `known`, and the tables that are there.
    """
    file = table_of(paths, stage, key)
    check_schema(TABLES[stage], file)
    refuse_stale(file, table_origin(params, paths, stage, key, known))
    return fingerprints(paths, [file])


def table_origin(
    params: Params, paths: Paths, stage: str, key: str, known: Mapping[str, str]
) -> Origin:
    """What the table of a stage would be made from now, without its models: the inputs that are
    `known`, the tables that are there and a file of the user's.
    """
    earlier = (table_of(paths, before, KEYS.get(before, key)) for before in READS[stage])
    inputs = dict(known) | fingerprints(paths, (f for f in earlier if f.is_file()))
    inputs |= given_file(params, paths, stage, key)
    return Origin(stage, key, params_of(params, stage, key), inputs)


def given_file(params: Params, paths: Paths, stage: str, key: str) -> dict[str, str]:
    """The name and the fingerprint of the file with responses that rollout reads; nothing where it
    samples, or where the file has gone since.
    """
    file = paths.given_rollouts(params.rollout.file, key) if stage == "rollout" else None
    if file is None or not file.is_file():
        return {}
    return {f"rollout.file ({file.name})": file_hash(file)[:16]}


def table_of(paths: Paths, stage: str, key: str) -> Path:
    """The table that a stage writes."""
    return paths.root / OUTPUTS[stage][0].format(key=key)


def fingerprints(paths: Paths, files: Iterable[Path]) -> dict[str, str]:
    """Of files, by their paths in the project."""
    return {str(file.relative_to(paths.root)): file_hash(file)[:16] for file in files}


def params_of(params: Params, stage: str, key: str) -> dict[str, Any]:
    """The values that the table of a stage depends on, by their whole keys, but for keys that may
    be left out and have their default: tables of an older rosd, which had no such key, stay valid.
    """
    values = params.model_dump(mode="json", exclude_defaults=True)
    flat: dict[str, Any] = {}
    for name in (text.format(key=key) for text in PARAMS[stage]):
        value: Any = values
        for part in name.split("."):
            value = value[part]
        flat |= _flat(value, name)
    return {k: v for k, v in flat.items() if k.rpartition(".")[2] not in WITHOUT}


def _flat(value: Any, name: str) -> dict[str, Any]:
    if not isinstance(value, Mapping) or not value:
        return {name: value}
    return {k: v for key, part in value.items() for k, v in _flat(part, f"{name}.{key}").items()}
