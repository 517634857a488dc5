"""What a stage that was stopped had done: kept in a folder that DVC does not see.

`.rosd/scratch/<stage>/<name>-<key>`, where the key is a hash of all that the work depends on: a
stage that runs again with the same inputs, params and code goes on, any other starts anew. The
folder stays when the stage has ended, since DVC may be killed before it records that, and then runs
the stage again. The next work of the same stage, or `rosd clean`, deletes it.
"""

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rosd_core.tables.atomic import write_json
from rosd_core.tables.lock import is_held

FORMAT = 1  # of what stages keep; a change makes all of it stale
MADE_OF = "made_of.json"


def scratch_folder(root: Path, stage: str, name: str, made_of: Mapping[str, Any]) -> Path:
    """The folder for a stage's work on `name` (an iteration, a model), made of these inputs.
    Folders of other work of that stage are deleted, unless it is going on. To be called by the
    holder of the lock `<stage>-<name>`.
    """
    told = json.loads(json.dumps(dict(made_of) | {"format": FORMAT}, sort_keys=True))
    key = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]
    folder = scratch_root(root) / stage / f"{name}-{key}"
    if folder.parent.is_dir():
        for other in folder.parent.iterdir():
            whose = other.name.rsplit("-", 1)[0]
            if other != folder and (whose == name or not is_held(root, f"{stage}-{whose}")):
                # under torchrun, the other processes of this run delete it, too
                shutil.rmtree(other, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / MADE_OF, told)
    return folder


def scratch_root(root: Path) -> Path:
    """The folder of a project that holds all kept work."""
    return root / ".rosd" / "scratch"


def clean(root: Path) -> int:
    """Delete all kept work of a project; how many bytes it had."""
    folder = scratch_root(root)
    freed = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    shutil.rmtree(folder, ignore_errors=True)
    return freed
