"""Score tables of the pocket world: bytes per supervised token, and where teachers disagree.

    python benchmarks/score_table.py

Samples and reflects once (iteration 1 of the shipped params) in a temporary folder, then scores
with each of `score.targets`, and with the teacher context of three methods. About three minutes.
"""

import json
import shutil
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from rosd_core.align.mask import token_range
from rosd_core.align.token_spans import TokenMap
from rosd_core.config.edit import with_method
from rosd_core.config.load import load_params
from rosd_core.config.params import Params
from rosd_core.pocket.oracle import known_errors
from rosd_core.tables.io import read_table
from stages import align, prepare, reflect, rollout, score
from stages.paths import Paths

ROOT = Path(__file__).resolve().parent.parent
REGIONS = ("prefix", "line", "after", "correct")
METHODS = {
    "rosd-no-localize": "the corrective idea (rosd-no-localize)",
    "sdpo": "a peer (sdpo)",
    "opsd": "the reference solution (opsd)",
}


def with_values(params: Params, **values: Any) -> Params:
    """The params with some values of the section `score`."""
    data = params.model_dump()
    data["score"].update(values)
    return Params.model_validate(data)


def storage(params: Params, paths: Paths) -> None:
    print("| score.targets | bytes per supervised token |\n| --- | --- |")
    align.run(params, paths, "i1")
    for targets in ("topk", "hidden", "none"):
        score.run(with_values(params, targets=targets), paths, "i1")
        file = paths.table("scores", "i1")
        tokens = int(read_table("scores", file, ["positions"])["positions"].list.len().sum())
        print(f"| {targets} | {file.stat().st_size / tokens:.0f} |")


def regions(paths: Paths) -> dict[str, list[float]]:
    """Divergences of all tokens, by where they are; a wrong response's end token is after it."""
    problems = read_table("problems", paths.problems).to_dicts()
    rollouts = read_table("rollouts", paths.table("rollouts", "i1")).to_dicts()
    errors = known_errors(problems, rollouts)
    responses = {row["rollout_id"]: row for row in rollouts}
    token_map = TokenMap.of_folder(paths.model_folder("base"))
    found: dict[str, list[float]] = defaultdict(list)
    for row in read_table("scores", paths.table("scores", "i1")).iter_rows(named=True):
        rollout_row = responses[row["rollout_id"]]
        if rollout_row["success"]:
            found["correct"] += row["divergence"]
        elif row["rollout_id"] in errors:
            spans_T2 = token_map.spans(rollout_row["response_ids"], rollout_row["response"])
            first, end = token_range(spans_T2, errors[row["rollout_id"]])
            for t, divergence in zip(row["positions"], row["divergence"], strict=True):
                found["prefix" if t < first else "line" if t < end else "after"].append(divergence)
    return found


def main() -> None:
    params = load_params(ROOT / "params.yaml")
    with tempfile.TemporaryDirectory() as name:
        paths = Paths(Path(name))
        shutil.copytree(ROOT / "models" / "base", paths.model("base"))
        prepare.run(params, paths)
        rollout.run(params, paths, "i1")
        reflect.run(params, paths, "i1")
        storage(params, paths)
        print("\nIteration 1: mean JSD (alpha 1/2) per token in thousandths, lift in nats\n")
        print("| teacher reads | valid prefix | erroneous line | after it | correct ones | lift |")
        print("| --- | --- | --- | --- | --- | --- |")
        for method, label in METHODS.items():
            chosen = with_method(params, method)
            align.run(chosen, paths, "i1")
            score.run(chosen, paths, "i1")
            found = regions(paths)
            means = [
                1000 * sum(found[r]) / len(found[r]) for r in ("prefix", "line", "after", "correct")
            ]
            lift = json.loads(paths.metrics("score", "i1").read_text())
            cells = [f"{mean:.0f}" for mean in means]
            cells.append("{lift:.3f} [{lift_low:.3f}, {lift_high:.3f}]".format(**lift))
            print(f"| {label} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
