"""What the runs of a seed have in common: problems, the base model's evaluation, rollouts and
reflections of the first iteration.

in  models/base, study/<name>.yaml
out study/<name>/shared/<seed> (a project folder)
"""

import json
import shutil
import time
from pathlib import Path

from rosd_core.config.params import Params
from rosd_core.tables.atomic import replacing_folder, write_json
from rosd_core.tables.hashing import fingerprint
from rosd_core.tables.scratch import scratch_root
from stages import evaluate, prepare, reflect, rollout
from stages.paths import Paths, link_base

SETTINGS = "settings.json"
SECONDS = "seconds.json"
SECTIONS = {"prepare", "prompts", "rollout", "reflect", "evaluate", "machine"}


def make_shared(params: Params, paths: Paths, folder: Path) -> None:
    """Make the folder, unless it is of these settings and weights already."""
    settings = {
        "weights": fingerprint(paths.model_folder("base")),
        "params": params.model_dump(mode="json", include=SECTIONS),
    }
    file = folder / SETTINGS
    if file.is_file() and json.loads(file.read_text()) == settings:
        return
    with replacing_folder(folder) as target:
        here, seconds = Paths(target, paths.root), {}
        link_base(paths, here)
        prepare.run(params, here)
        evaluate.run(params, here, "base")
        for stage in (rollout, reflect):
            started = time.monotonic()
            stage.run(params, here, "i1")
            seconds[stage.__name__.removeprefix("stages.")] = time.monotonic() - started
        write_json(target / SECONDS, seconds)
        write_json(target / SETTINGS, settings)
        shutil.rmtree(here.model("base").parent)
        shutil.rmtree(scratch_root(target))


def shared_stages(params: Params, shared: Path) -> dict[str, float]:
    """The stages of iteration 1 that a run need not repeat, since it asks for the same as the
    folder has, with their seconds.
    """
    stored = json.loads((shared / SETTINGS).read_text())["params"]
    now = params.model_dump(mode="json", include=SECTIONS)
    seconds = json.loads((shared / SECONDS).read_text())
    if now["rollout"] != stored["rollout"]:
        return {}
    return {"rollout": seconds["rollout"]} | (
        {"reflect": seconds["reflect"]} if now["reflect"] == stored["reflect"] else {}
    )
