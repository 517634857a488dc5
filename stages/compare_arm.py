"""arm: one method with one seed, all iterations.

in  compare/shared/<seed>, models/base
out compare/arms/<method>-<seed>.parquet (table evaluation, of base and of every iteration),
    compare/arms/<method>-<seed>.json (seconds, supervised share)
"""

import json
import shutil
import time
from collections import defaultdict

import polars as pl

from rosd_core.config.edit import with_method, with_seed, with_values
from rosd_core.config.params import Params
from rosd_core.tables.atomic import write_json
from rosd_core.tables.io import read_table, write_table
from stages import align, distill, evaluate, reflect, rollout, score
from stages.paths import Paths, link_base


def run(params: Params, paths: Paths, method: str, seed: str) -> None:
    """Tables are kept in compare/work/<method>-<seed>; models and optimizers are
    deleted at the end.
    """
    # a bad teacher is a result of the comparison, not a reason to stop it
    params = with_values(with_method(with_seed(params, int(seed)), method), {"score.lift": "warn"})
    home = paths.root / "compare"
    work, shared = home / "work" / f"{method}-{seed}", Paths(home / "shared" / seed)
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(shared.root, work)
    here, first = Paths(work), next(iter(params.loop))
    link_base(paths, here)
    done = {"rollout": first} | ({"reflect": first} if params.reflect.enabled else {})
    shared_seconds = json.loads(here.metrics("seconds", first).read_text())
    seconds = defaultdict(float, {stage: shared_seconds[stage] for stage in done})
    for iteration in params.loop:
        for stage in (rollout, reflect, align, score, distill):
            name, started = stage.__name__.removeprefix("stages."), time.monotonic()
            if done.get(name) != iteration:
                stage.run(params, here, iteration)
                seconds[name] += time.monotonic() - started
        evaluate.run(params, here, iteration)
    keys = ["base", *params.loop]
    samples = pl.concat(read_table("evaluation", here.evaluation(key)) for key in keys)
    out = home / "arms" / f"{method}-{seed}"
    write_table("evaluation", samples.to_dicts(), out.with_suffix(".parquet"))
    shares = [json.loads(here.metrics("align", i).read_text()) for i in params.loop]
    share = sum(s["supervised_token_share"] for s in shares) / len(shares)
    write_json(out.with_suffix(".json"), {"seconds": seconds, "supervised_token_share": share})
    for folder in ("models", "optimizers"):
        shutil.rmtree(work / folder)


if __name__ == "__main__":
    from stages.cli import main

    main("arm")
