"""The results of a study that are there, for its own report and for the page of the project."""

from pathlib import Path

from rosd_core.config.params import Params
from rosd_core.config.study import Study, shared_params
from rosd_core.report.study import study_domains
from rosd_core.report.study_tables import Outcome, outcome
from rosd_core.tables.io import read_table
from rosd_core.tables.schemas import SCHEMAS


def read_outcome(study: Study, params: Params, home: Path) -> Outcome:
    """From results.parquet in the study's folder, without the settings of the runs: all params,
    repeated in every row.
    """
    own = shared_params(study, params, study.seeds[0])
    domains = study_domains(own.prepare.domains, study.select)
    shown = [name for name in SCHEMAS["study"].names if name != "settings"]
    return outcome(study, read_table("study", home / "results.parquet", shown), domains)
