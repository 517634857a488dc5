"""The results of a study that are there, for its own report and for the page of the project."""

from pathlib import Path

from rosd_core.config.params import Params
from rosd_core.config.study import Study, shared_params
from rosd_core.report.study import study_domains
from rosd_core.report.study_tables import Outcome, outcome
from rosd_core.tables.io import read_table


def read_outcome(study: Study, params: Params, home: Path) -> Outcome:
    """From results.parquet in the study's folder."""
    own = shared_params(study, params, study.seeds[0])
    domains = study_domains(own.prepare.domains, study.select)
    return outcome(study, read_table("study", home / "results.parquet"), domains)
