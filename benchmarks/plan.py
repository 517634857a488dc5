"""`rosd plan` beside what stages really took: CPU seconds, peak memory, bytes on disk.

    python benchmarks/plan.py [--iterations 2]      the pocket default: 5 minutes
    python benchmarks/plan.py --model FOLDER        a small project on another model, as SmolLM2

Every stage of the iterations runs in a process of its own. They are compared with two plans: one
that was made before anything had run, and one that knows what the iterations measured. Printed is
planned / measured; the goal is a factor of 1.5. The plan's seconds are those of an idle machine, so
CPU time is what they are compared with, and a busy machine makes the measured side larger.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer
from used import used_by

ROOT = Path(__file__).resolve().parent.parent
STAGES = ("rollout", "reflect", "align", "score", "distill", "evaluate")
TABLES = {"rollout": "rollouts", "reflect": "reflections", "align": "alignments", "score": "scores"}


def run(project: Path, *arguments: str) -> tuple[float, float]:
    """A stage in a process: CPU seconds and peak GiB. Exits where it fails."""
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "ROSD_QUIET": "1"}
    stage, *rest = arguments
    used = used_by([sys.executable, "-m", f"stages.{stage}", *rest], project, env)
    if used is None:
        sys.exit(f"rosd {' '.join(arguments)} failed")
    return used.cpu, used.gib


def planned(project: Path) -> dict[str, Any]:
    """`rosd plan --json`, by stage."""
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "stages.cli", "plan", "--json"]
    done = subprocess.run(command, cwd=project, env=env, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return {line["stage"]: line for line in json.loads(done.stdout)["iteration"]}


def written(project: Path, stage: str, key: str) -> float:
    """Bytes that a stage wrote: its table, or the model and the optimizer's state."""
    if stage == "distill":
        folders = (project / "models" / key, project / "optimizers" / key)
        return sum(f.stat().st_size for d in folders for f in d.rglob("*.safetensors"))
    if stage == "evaluate":
        return (project / "evaluations" / f"{key}.parquet").stat().st_size
    return (project / "iterations" / key / f"{TABLES[stage]}.parquet").stat().st_size


def pocket(folder: Path) -> Path:
    """The default project, with the built-in model."""
    shutil.copy(ROOT / "params.yaml", folder)
    shutil.copytree(ROOT / "models" / "base", folder / "models" / "base")
    return folder


def small(folder: Path, model: Path) -> Path:
    """A project of `rosd init` on the problems of examples/smollm2."""
    from rosd_core.config.edit import rewrite
    from stages.init_project import Options, create

    data = [sys.executable, str(ROOT / "examples/smollm2/make_data.py"), str(folder)]
    subprocess.run(data, check=True, env=os.environ | {"PYTHONPATH": str(ROOT)})
    options = Options(
        model=str(model), revision=None, train=str(folder / "train.jsonl"),
        test=str(folder / "test.jsonl"), columns=["prompt=puzzle,answer=odd_one,solution=worked"],
        grader=None, method="rosd", device="cpu", iterations=2, shots=2, max_new_tokens=None,
        minutes=4.0,
    )  # fmt: skip
    create(folder / "project", options)

    def change(data: Any, _yaml: Any) -> None:
        data["machine"]["threads"] = 1
        data["rollout"] |= {"problems": 12, "group_size": 4, "shard_problems": 12}
        data["score"] |= {"lift": "warn"}

    rewrite(folder / "project" / "params.yaml", change)
    return folder / "project"


def compare(plans: dict[str, dict[str, Any]], used: dict[str, tuple[float, float, float]]) -> None:
    """Print a Markdown table of planned / measured."""
    names = " | ".join(f"seconds, {n} | memory, {n} | disk, {n}" for n in plans)
    print(f"| stage | CPU s | GiB | kB | {names} |\n" + "| --- " * (4 + 3 * len(plans)) + "|")
    for stage, (cpu, gib, size) in used.items():
        cells = [stage, f"{cpu:.1f}", f"{gib:.2f}", f"{size / 1e3:.0f}"]
        for plan in plans.values():
            line = plan[stage]
            memory, disk = line["memory"]["total"] / 2**30, sum(line["disk"].values())
            cells += [f"{line['by_hand'] / cpu:.2f}", f"{memory / gib:.2f}", f"{disk / size:.2f}"]
        print(f"| {' | '.join(cells)} |", flush=True)


def main(
    model: Annotated[Path | None, typer.Option()] = None,
    iterations: Annotated[int, typer.Option(help="The last one is compared.")] = 2,
) -> None:
    sys.path.insert(0, str(ROOT))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        project = pocket(folder) if model is None else small(folder, model.resolve())
        before = planned(project)
        run(project, "prepare")
        used: dict[str, tuple[float, float, float]] = {}
        for key in (f"i{n}" for n in range(1, iterations + 1)):
            for stage in STAGES:
                used[stage] = (*run(project, stage, key), written(project, stage, key))
        compare({"before": before, "after": planned(project)}, used)


if __name__ == "__main__":
    typer.run(main)
