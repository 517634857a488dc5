"""Where an epoch of distillation begins, and where it keeps what it has done."""

from rosd_core.config.params import Params
from rosd_core.distill.checkpoint import Saves
from rosd_core.distill.optimizer_state import state_files
from rosd_core.tables.hashing import file_hash
from rosd_core.tables.origin import Origin
from stages.kept import kept
from stages.paths import Paths, start_of


def open_saves(params: Params, paths: Paths, origin: Origin, teacher: str, writes: bool) -> Saves:
    """The saves of a run of distill; `teacher` is its fingerprint. Those of sharded weights can be
    taken up by another number of processes.
    """
    key = start_of(params, origin.key)
    before = None if key == "base" else paths.optimizer(key)
    hashes = [file_hash(file) for file in state_files(before)] if before else []
    inputs = {"teacher": teacher, "optimizer": "+".join(hashes) or None}
    folder = kept(params, paths, origin, params.distill.sharding == "none", **inputs)
    return Saves(before, folder, params.distill.save_every, writes)
