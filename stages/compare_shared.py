"""shared: what all methods of a seed have in common: problems, the base model's evaluation,
rollouts and reflections of the first iteration.

in  models/base
out compare/shared/<seed> (a complete project folder)
"""

import shutil
import time

from rosd_core.config.edit import with_seed
from rosd_core.config.params import Params
from rosd_core.tables.atomic import write_json
from stages import evaluate, prepare, reflect, rollout
from stages.paths import Paths, link_base


def run(params: Params, paths: Paths, seed: str) -> None:
    """The same stages as in the main pipeline, in this process."""
    params, home = with_seed(params, int(seed)), paths.root / "compare" / "shared" / seed
    shutil.rmtree(home, ignore_errors=True)
    here = Paths(home)
    link_base(paths, here)
    first, seconds = next(iter(params.loop)), {}
    prepare.run(params, here)
    evaluate.run(params, here, "base")
    for stage in (rollout, reflect):
        started = time.monotonic()
        stage.run(params, here, first)
        seconds[stage.__name__.removeprefix("stages.")] = time.monotonic() - started
    write_json(here.metrics("seconds", first), seconds)
    shutil.rmtree(here.model("base").parent)


if __name__ == "__main__":
    from stages.cli import main

    main("shared")
