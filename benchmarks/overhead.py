"""How much of the pipeline's time is the models' work: `dvc repro -f` against `rosd repro -f`.

    python benchmarks/overhead.py [--params params.yaml] [--plain/--no-plain] [--repeats 3]

A clone of this repository (its last commit) runs the whole pipeline both ways, each stage a command
of its own, and then once more in one process, where the seconds in the models are taken:
`TransformersEngine.generate` of rollout, reflect and evaluate, the passes of score (`score_rows`,
`parity`, `base_kl`) and `train` of distill. Overhead is all other time of a run: starts of
processes, imports, loading, hashing, reading and writing tables, DVC, align, prepare and report.

Printed are wall and CPU seconds (user and system, of all processes) of the fastest of the repeats,
the share of each that is overhead, and whether the content hashes and dvc.lock are equal. Repeats
alternate between the ways, each with its own measure of the models' work. Wall time means nothing
unless the machine is idle; with two cores some of the overhead runs beside DVC and takes no wall
time.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from used import used_by

ROOT = Path(__file__).resolve().parent.parent
WORK = "models' work"
SCRIPT = """#!{python}
import sys
from stages.launch import main
sys.exit(main())
"""


@dataclass
class Seconds:
    """Of one run, or of what models do in it."""

    wall: float = 0.0
    cpu: float = 0.0

    @contextmanager
    def taken(self, cpu: Callable[[], float]) -> Iterator[None]:
        """Add the seconds of a block."""
        wall, used = time.monotonic(), cpu()
        yield
        self.wall += time.monotonic() - wall
        self.cpu += cpu() - used


def environment(project: Path, folder: Path) -> dict[str, str]:
    """Where `rosd` is the code of the clone."""
    script = folder / "bin" / "rosd"
    script.parent.mkdir(exist_ok=True)
    script.write_text(SCRIPT.format(python=sys.executable))
    script.chmod(0o755)
    path = [str(script.parent), str(Path(sys.executable).parent), os.environ["PATH"]]
    return os.environ | {"PATH": os.pathsep.join(path), "PYTHONPATH": str(project)}


def pipeline(command: list[str], project: Path, folder: Path) -> Seconds:
    """Run it, to the end of all processes that it leaves behind."""
    log = folder / "log.txt"
    with log.open("w") as output:
        used = used_by(command, project, environment(project, folder), output)
    if used is None:
        raise SystemExit(f"{' '.join(command)} failed:\n{log.read_text()}")
    return Seconds(used.wall, used.cpu)


def results(project: Path, folder: Path) -> tuple[str, str]:
    """Content hashes of tables and weights, and dvc.lock."""
    env = environment(project, folder)
    command = ["rosd", "hashes"]
    told = subprocess.run(command, cwd=project, env=env, check=True, capture_output=True, text=True)
    return told.stdout, (project / "dvc.lock").read_text(encoding="utf-8")


def work_of_models(project: Path, params_file: str) -> Seconds:
    """The seconds in the models, in a run of all stages in this process. What they import is
    imported before.
    """
    from rosd_core.config.load import load_params
    from rosd_core.sampling.transformers_engine import TransformersEngine
    from stages import align, distill, evaluate, parity, prepare, reflect, rollout, score
    from stages.paths import Paths

    found = Seconds()
    for owner, name in (
        (TransformersEngine, "generate"), (score, "score_rows"), (score, "base_kl"),
        (parity, "parity"), (distill, "train"),
    ):  # fmt: skip
        setattr(owner, name, timed(getattr(owner, name), found))
    params, paths = load_params(project / params_file), Paths(project)
    prepare.run(params, paths)
    evaluate.run(params, paths, "base")
    for key in params.loop:
        for stage in (rollout, reflect, align, score, distill, evaluate):
            stage.run(params, paths, key)
    return found


def work_apart(project: Path) -> Seconds:
    """`work_of_models` in a process of its own."""
    command = [sys.executable, __file__, "--work", str(project)]
    env = os.environ | {"ROSD_QUIET": "1"}
    done = subprocess.run(command, env=env, check=True, stdout=subprocess.PIPE, text=True)
    return Seconds(**json.loads(done.stdout.splitlines()[-1]))


def timed(function: Callable[..., Any], found: Seconds) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        with found.taken(time.process_time):
            return function(*args, **kwargs)

    return call


def main(
    params: Annotated[str, typer.Option(help="Of the clone.")] = "params.yaml",
    plain: Annotated[bool, typer.Option(help="Also `dvc repro -f`.")] = True,
    repeats: int = 1,
    work_of: Annotated[Path | None, typer.Option("--work", hidden=True)] = None,
) -> None:
    if work_of is not None:
        print(json.dumps(asdict(work_of_models(work_of, "params.yaml"))))
        return
    with tempfile.TemporaryDirectory(prefix="rosd-overhead-") as name:
        folder = Path(name)
        project = folder / "clone"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(project)], check=True)
        if params != "params.yaml":
            (project / "params.yaml").write_bytes((project / params).read_bytes())
        runs = {"dvc repro -f": ["dvc", "repro", "-f"]} if plain else {}
        runs |= {"rosd repro -f": ["rosd", "repro", "-f"]}
        took: dict[str, list[Seconds]] = {told: [] for told in [*runs, WORK]}
        made = set()
        for _ in range(repeats):
            for told, command in runs.items():
                took[told].append(pipeline(command, project, folder))
                made.add(results(project, folder))
            took[WORK].append(work_apart(project))
            for told, seconds in took.items():
                print(f"{told}: {seconds[-1].wall:.1f} s, {seconds[-1].cpu:.1f} CPU-s", flush=True)
        best = {
            told: Seconds(min(x.wall for x in seconds), min(x.cpu for x in seconds))
            for told, seconds in took.items()
        }
        work = best.pop(WORK)
        for told, seconds in best.items():
            wall, cpu = (1 - work.wall / seconds.wall, 1 - work.cpu / seconds.cpu)
            print(
                f"{told}: {seconds.wall:.1f} s, {100 * wall:.0f} % overhead; "
                f"{seconds.cpu:.1f} CPU-s, {100 * cpu:.0f} %; work {work.wall:.1f} s"
            )
        print(f"equal hashes and dvc.lock: {len(made) == 1}")


if __name__ == "__main__":
    typer.run(main)
