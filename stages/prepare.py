"""prepare: write the problems.

in  params prepare, the files named there
out data/problems.parquet (table problems), metrics/prepare-all.json
"""

from rosd_core.config.params import Params
from rosd_core.errors import RosdError
from rosd_core.tables.atomic import write_json
from rosd_core.tables.io import write_table
from rosd_core.tables.publish import publishing
from rosd_core.tasks.sources import choose, source_rows, system_of
from stages.origin import origin_of
from stages.paths import Paths


def run(params: Params, paths: Paths) -> None:
    """Test problems are chosen first; duplicate prompts are dropped, also across splits."""
    p = params.prepare
    rows, seen, counts = [], set(), {}
    for split in ("test", "train"):
        for name, source in p.domains.items():
            wanted = getattr(source, split)
            if wanted == 0:
                continue
            number = None if wanted == "all" else wanted
            found = source_rows(name, paths.with_files(source.model_dump()), split, number, p.seed)
            chosen, duplicates = choose(name, split, found, number, p.seed, seen)
            rows += [
                row | {"task": source.task, "system": system_of(row, source.system)}
                for row in chosen
            ]
            counts.setdefault(name, {})[split] = len(chosen)
            counts[name][f"{split}_duplicates"] = duplicates
    if not rows:
        raise RosdError("prepare: every domain wants 0 rows; set train or test of one.")
    with publishing(paths.root, origin_of(params, paths, "prepare", "all")) as together:
        write_table("problems", rows, paths.problems, together)
        write_json(paths.metrics("prepare", "all"), counts, together)


if __name__ == "__main__":
    from stages.cli import main

    main("prepare")
