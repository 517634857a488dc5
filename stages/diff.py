"""diff: two evaluations compared problem by problem; no stage of dvc.yaml.

in  evaluations/<before>.parquet, evaluations/<after>.parquet
"""

from rosd_core.config.params import Params
from rosd_core.errors import RosdError
from rosd_core.show.difference import Difference
from rosd_core.show.paired import changes, paired
from rosd_core.tables.io import read_table
from rosd_core.tables.origin import read_origin
from stages.paths import Paths

COLUMNS = ["domain", "problem_id", "success"]


def compare(params: Params, paths: Paths, before: str, after: str) -> Difference:
    """The evaluations of two models. Raises RosdError for a model that the loop does not have, for
    a missing evaluation, and where the two share no problem.
    """
    known = ["base", *params.loop]
    for key in (before, after):
        if key not in known:
            raise RosdError(f"{key!r} has no evaluation; there are: {', '.join(known)}.")
    if before == after:
        raise RosdError(f"both are {before}: name two different models.")
    files = [paths.evaluation(key) for key in (before, after)]
    frames = [read_table("evaluation", file, COLUMNS) for file in files]
    pairs = paired(*frames)
    if pairs.is_empty():
        raise RosdError(
            f"{files[0]} and {files[1]} share no problem; `dvc repro` evaluates both on the "
            "problems that are there now."
        )
    e, origins = params.evaluate, [read_origin(file, "`dvc repro`") for file in files]
    notes = []
    left_out = [frame["problem_id"].n_unique() - len(pairs) for frame in frames]
    for key, count in zip((before, after), left_out, strict=True):
        if count:
            notes.append(
                f"{count} problems of {key} are left out: the other has not answered them."
            )
    names = origins[0].params.keys() | origins[1].params.keys()
    for name in sorted(names):
        values = [origin.params.get(name) for origin in origins]
        if values[0] != values[1]:
            notes.append(f"{name} was {values[0]} for {before} and {values[1]} for {after}.")
    found = changes(pairs, e.confidence, e.bootstrap_resamples, e.seed)
    trained = params.prepare.trained()
    return Difference(before, after, e.confidence, found, pairs, trained, notes)
