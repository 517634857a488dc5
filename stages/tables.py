"""tables: what tables a project has; no stage of dvc.yaml.

in  data/problems.parquet, iterations/<iteration>/*.parquet, evaluations/*.parquet
"""

from collections.abc import Iterator

from rosd_core.config.params import Params
from rosd_core.errors import RosdError
from rosd_core.show.inventory import READ, Entry, contents
from rosd_core.tables.io import check_schema
from rosd_core.tables.origin import read_origin
from rosd_core.tables.parquet import read_frame
from stages.origin import TABLES, params_of, table_of
from stages.paths import KEYS, Paths

OF_AN_ITERATION = ("rollout", "reflect", "align", "score", "evaluate")


def inventory(params: Params, paths: Paths) -> list[Entry]:
    """Every table that the params ask for, in the order in which they are made. The params of a
    table are compared with those of now, its inputs are not: `dvc status` does that.
    """
    return [entry(params, paths, stage, key) for stage, key in _wanted(params)]


def _wanted(params: Params) -> Iterator[tuple[str, str]]:
    yield "prepare", KEYS["prepare"]
    yield "evaluate", "base"
    for key in params.loop:
        for stage in OF_AN_ITERATION:
            yield stage, key


def entry(params: Params, paths: Paths, stage: str, key: str) -> Entry:
    """The entry of the table that a stage writes; a damaged or foreign table is a note of it."""
    table, file = TABLES[stage], table_of(paths, stage, key)
    command = f"`rosd {stage}`" if key == KEYS.get(stage) else f"`rosd {stage} {key}`"
    shown = "data" if stage == "prepare" else key
    if not file.is_file():
        return Entry(shown, table, None, None, "", f"missing: {command}")
    size = file.stat().st_size
    try:
        check_schema(table, file)
        frame = read_frame(file, READ[table])
        note = _other_params(params, stage, key, read_origin(file, command).params)
    except RosdError as error:
        return Entry(shown, table, None, size, "", str(error).removeprefix(f"{file}: "))
    return Entry(shown, table, len(frame), size, contents(table, frame), note)


def _other_params(params: Params, stage: str, key: str, before: object) -> str:
    """Which params have changed since a table was made."""
    now, then = params_of(params, stage, key), dict(before) if isinstance(before, dict) else {}
    names = [name for name in sorted(now.keys() | then.keys()) if now.get(name) != then.get(name)]
    if not names:
        return ""
    more = f" and {len(names) - 2} more" if len(names) > 2 else ""
    return f"made with another {', '.join(names[:2])}{more}"
