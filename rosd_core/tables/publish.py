"""The outputs of a stage change together: all are written first, then all are renamed.

Between two renames a process can be killed. So the renames are written down before the first one,
in `.rosd/unfinished/<run>.json`, and whoever starts next carries them out: `finish`.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from rosd_core.tables.atomic import Publication, put, replacing
from rosd_core.tables.origin import Origin


def journal_file(root: Path, run: str) -> Path:
    """Where the renames of a run are written down, such as that of `distill-i1`."""
    return root / ".rosd" / "unfinished" / f"{run}.json"


@contextmanager
def publishing(root: Path, origin: Origin) -> Iterator[Publication]:
    """Yield a publication; what is written with it appears in the project at `root` at the end, or,
    after an error, never.
    """
    together, journal = Publication(origin), journal_file(root, origin.run)
    try:
        yield together
    except BaseException:
        together.discard()
        raise
    names = {
        str(path.relative_to(root)): str(temporary.relative_to(root))
        for path, temporary in together.written.items()
    }
    if names:
        with replacing(journal) as temporary:
            temporary.write_text(json.dumps(names), encoding="utf-8")
        finish(root, origin.run)


def finish(root: Path, run: str) -> None:
    """Carry out the renames of a run that was killed between them."""
    journal = journal_file(root, run)
    if journal.is_file():
        _rename(root, json.loads(journal.read_text(encoding="utf-8")))
        journal.unlink()


def _rename(root: Path, names: Mapping[str, str]) -> None:
    for path, temporary in names.items():
        if (root / temporary).exists():
            put(root / temporary, root / path)
