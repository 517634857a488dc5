"""rosd export: the model of an iteration as a checkpoint for others, with a model card.

in  models/<iteration>, evaluations/base.parquet, evaluations/<iteration>.parquet, metrics/*.json
out the folder
"""

import json
from pathlib import Path
from typing import Any

from rosd_core.config.params import Params
from rosd_core.errors import RosdError
from rosd_core.models.pointer import read_pointer
from rosd_core.share.checkpoint import write_checkpoint
from rosd_core.share.header import read_header
from rosd_core.share.model_card import Base, ModelFacts, model_card
from rosd_core.tables.atomic import replacing_folder
from rosd_core.tables.io import check_schema
from rosd_core.tables.origin import refuse_stale
from stages.origin import origin_of, refuse_stale_iterations, table_of
from stages.paths import Paths, start_of


def run(params: Params, paths: Paths, target: Path, iteration: str | None) -> str:
    """Write the model of an iteration, or of the last one, to the new folder `target`; the
    iteration. Raises RosdError where the folder is there, where the tables that led to
    the model were made with other params, or the evaluations of the base model and of this one are
    missing or of other models.
    """
    key = iteration or list(params.loop)[-1]
    start_of(params, key)  # refuses an unknown one
    if target.exists():
        raise RosdError(f"{target} is there already; delete it, or name another folder.")
    refuse_stale_iterations(params, paths, _chain(params, key))
    for name in ("base", key):
        file = table_of(paths, "evaluate", name)
        check_schema("evaluation", file)
        refuse_stale(file, origin_of(params, paths, "evaluate", name))
    card = model_card(_facts(params, paths, key))
    with replacing_folder(target) as folder:
        write_checkpoint(paths.model_folder(key), folder)
        (folder / "README.md").write_text(card, encoding="utf-8")
    return key


def _facts(params: Params, paths: Paths, key: str) -> ModelFacts:
    prepared = _metrics(paths, "prepare", "all")
    return ModelFacts(
        base=_base(paths),
        iteration=key,
        iterations=_chain(params, key),
        settings=params.model_dump(mode="json"),
        metrics={stage: _metrics(paths, stage, key) for stage in ("rollout", "distill")},
        before=_metrics(paths, "evaluate", "base"),
        after=_metrics(paths, "evaluate", key),
        trained={name: prepared[name]["train"] for name in params.prepare.trained()},
    )


def _chain(params: Params, key: str) -> list[str]:
    """The iterations from the base model to this one."""
    keys = [key]
    while (start := params.loop[keys[0]].start) != "base":
        keys.insert(0, start)
    return keys


def _base(paths: Paths) -> Base:
    pointer = read_pointer(paths.model("base"))
    if pointer is None:
        return Base("pocket (the model that ROSD brings along)", False, None, "apache-2.0")
    found = read_header(paths.model_folder("base") / "README.md").get("license")
    known = found if isinstance(found, str) else None
    if pointer.revision is None:
        return Base(Path(pointer.model).name, False, None, known)
    return Base(pointer.model, True, pointer.revision, known)


def _metrics(paths: Paths, stage: str, key: str) -> dict[str, Any]:
    file = paths.metrics(stage, key)
    if not file.is_file():
        command = f"rosd {stage}" if key == "all" else f"rosd {stage} {key}"
        raise RosdError(f"{file} is missing; run `{command}` again.")
    return json.loads(file.read_text(encoding="utf-8"))
