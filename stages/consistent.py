"""Which tables of an iteration belong together, for report.html and `rosd show`."""

from rosd_core.config.params import Params
from rosd_core.errors import RosdError
from rosd_core.tables.io import check_schema
from rosd_core.tables.origin import read_origin, refuse_other_inputs, refuse_other_params
from stages.origin import TABLES, table_origin
from stages.paths import Paths

STAGES = {TABLES[stage]: stage for stage in ("rollout", "reflect", "align", "score")}


def consistent_tables(params: Params, paths: Paths, iteration: str) -> tuple[list[str], list[str]]:
    """The tables that are there and were made from each other, in the order of the stages, and
    notes on the others.

    A table that is missing, or was made from another table than the one that is there now, ends the
    list: its rows and those of later tables may be of other responses. One that was made with other
    params is in it, with a note.
    """
    found, notes, whole = [], [], True
    for table, stage in STAGES.items():
        file = paths.table(table, iteration)
        if not file.is_file():
            command = f"`rosd {stage} {iteration}`"
            notes.append(
                f"{table} of {iteration}: not there yet; {command} or `dvc repro` writes them."
            )
            whole = False
        if not whole:
            continue
        check_schema(table, file)
        now = table_origin(params, paths, stage, iteration, {})
        try:
            made = read_origin(file, now.command)
            refuse_other_inputs(file, made, now)
        except RosdError as error:
            notes.append(f"{iteration}: left out: {_relative(error, paths)}")
            whole = False
            continue
        try:
            refuse_other_params(file, made, now)
        except RosdError as error:
            notes.append(f"{iteration}: {_relative(error, paths)}")
        found.append(table)
    return found, notes


def _relative(error: RosdError, paths: Paths) -> str:
    """The message, with paths as seen from the project: the page may be sent to others."""
    return str(error).replace(f"{paths.root}/", "")
