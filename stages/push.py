"""rosd push: the tables of all iterations as a data set of the hub.

in  data/problems.parquet, iterations/*/*.parquet, evaluations/*.parquet
out the data set, or with --dry-run the folder that would be pushed
"""

import tempfile
from collections import Counter
from pathlib import Path

from rosd_core.config.methods import method_of
from rosd_core.config.params import Params
from rosd_core.errors import RosdError
from rosd_core.models.pointer import read_pointer
from rosd_core.share.dataset import Shared, dataset_card, write_table_for_others
from rosd_core.share.hub import check_name, upload
from rosd_core.tables.atomic import replacing_folder
from stages.origin import TABLES, refuse_stale_table, table_of
from stages.paths import Paths


def dry_run(params: Params, paths: Paths, name: str, target: Path) -> list[Shared]:
    """Write what would be pushed to the new folder `target`; its files."""
    check_name(name)
    if target.exists():
        raise RosdError(f"{target} is there already; delete it, or name another folder.")
    found = tables_of(params, paths)
    with replacing_folder(target) as folder:
        _write(params, paths, name, found, folder)
    return found


def run(params: Params, paths: Paths, name: str, public: bool) -> str:
    """Push; the address of the data set."""
    check_name(name)
    found = tables_of(params, paths)
    with tempfile.TemporaryDirectory(prefix="rosd-push-") as folder:
        _write(params, paths, name, found, Path(folder))
        return upload(name, Path(folder), public)


def tables_of(params: Params, paths: Paths) -> list[Shared]:
    """The tables that are there, by table and iteration. Raises RosdError where there is none, and
    for one that was made from something else than what is there now.
    """
    found = []
    for stage, table in TABLES.items():
        keys = {"prepare": ["all"], "evaluate": ["base", *params.loop]}.get(stage, [*params.loop])
        for key in keys:
            file = table_of(paths, stage, key)
            if file.is_file():
                refuse_stale_table(params, paths, stage, key, {})
                found.append(Shared(table, key, file))
    names = Counter(shared.name for shared in found)
    if twice := [name for name, count in names.items() if count > 1]:
        raise RosdError(
            f"params.yaml: loop: two iterations would both be {twice[0]}, because the name of a "
            "split has no hyphen; rename one."
        )
    if not found:
        raise RosdError(f"{paths.root}: there are no tables yet; `dvc repro` makes them.")
    return found


def _write(params: Params, paths: Paths, name: str, found: list[Shared], folder: Path) -> None:
    files = [(shared, *write_table_for_others(shared, folder)) for shared in found]
    pointer = read_pointer(paths.model("base"))
    base = "pocket" if pointer is None else pointer.model
    card = dataset_card(
        name,
        files,
        method_of(params.model_dump(mode="json")),
        base if pointer is None or pointer.revision is not None else Path(base).name,
    )
    (folder / "README.md").write_text(card, encoding="utf-8")
