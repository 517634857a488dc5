"""Kill stages at random moments, again and again, and compare with an undisturbed run.

    python benchmarks/chaos.py --kills 100

Each stage of a small project (two iterations of the pocket world, and their evaluations) runs in a
process of its own, which is killed (SIGKILL, SIGTERM) at a random moment and started again; after
some kills it may end. Then one epoch of distillation with many steps is killed as often. In the end
every file has to be the same, byte by byte, as in a project that nobody disturbed. `--dvc N` kills
`dvc repro` with all that it runs, N times.

Printed: kills per stage, how many shards and steps were finished more than once, and the CPU time
against that of the undisturbed run, with what was lost in the middle of a shard, and with opening
the models again at every start.
"""

import hashlib
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from ruamel.yaml import YAML

from rosd_core.config.load import load_params
from rosd_core.distill.checkpoint import Saves
from stages import align, distill, evaluate, prepare, reflect, rollout, score
from stages.messages import messages
from stages.paths import Paths, the_only_run

ROOT = Path(__file__).resolve().parent.parent

STAGES = {
    "prepare": prepare, "rollout": rollout, "reflect": reflect, "align": align, "score": score,
    "distill": distill, "evaluate": evaluate,
}  # fmt: skip
LOOP = [
    ("prepare",),
    *[
        (stage, key)
        for key in ("i1", "i2")
        for stage in ("rollout", "reflect", "align", "score", "distill", "evaluate")
    ],
]
Plan = list[tuple[str, ...]]
WORKED = re.compile(r"shard \d+/\d+, \d+ rows, [\d.]+ s$")


def make_project(folder: Path, problems: int, rows_per_step: int) -> None:
    """The shipped params, smaller and in small shards, each optimizer step saved."""
    yaml = YAML()
    data = yaml.load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    chain = {"task": "pocket", "domain": "chain", "steps": [3, 4, 5], "train": 60, "test": 8}
    data["prepare"]["domains"] = {"chain": chain}
    data["loop"] = {"i1": {"start": "base"}, "i2": {"start": "i1"}}
    data["rollout"] |= {"problems": problems, "shard_problems": 2}
    data["reflect"]["shard_rows"] = data["score"]["shard_rows"] = 16
    data["score"]["lift"] = "warn"
    data["evaluate"] |= {"samples": 4, "shard_rows": 8}
    data["distill"] |= {"rows_per_step": rows_per_step, "save_every": 2}
    folder.mkdir(parents=True)
    with (folder / "params.yaml").open("w", encoding="utf-8") as stream:
        yaml.dump(data, stream)
    shutil.copytree(ROOT / "models" / "base", folder / "models" / "base")


def stage_process(project: Path, stage: tuple[str, ...], log: Path) -> int:
    """Fork: the child runs the stage as the command does, with its stderr in `log`. Its pid."""
    if pid := os.fork():
        return pid
    code = 1
    try:
        stream = log.open("a", encoding="utf-8")
        os.dup2(stream.fileno(), 2)
        sys.stderr = stream
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        count_steps()
        name, *args = stage
        with messages(name):
            params, paths = load_params(project / "params.yaml"), Paths(project)
            with the_only_run(paths, name, args):
                STAGES[name].run(params, paths, *args)
        code = 0
    except typer.Exit as ended:
        code = ended.exit_code
    finally:
        sys.stderr.flush()
        os._exit(code)


def count_steps() -> None:
    """Let each optimizer step leave a line in the log, so that work done twice can be counted."""
    save = Saves.step

    def counted(*args: Any) -> None:
        print("step done", file=sys.stderr, flush=True)
        save(*args)

    setattr(Saves, "step", counted)  # noqa: B010


def run_stage(project: Path, stage: tuple[str, ...], log: Path) -> float:
    """Let a stage run to its end; its seconds."""
    started = time.monotonic()
    _, status = os.waitpid(stage_process(project, stage, log), 0)
    if os.waitstatus_to_exitcode(status) != 0:
        raise SystemExit(f"{' '.join(stage)} failed:\n{log.read_text()}")
    return time.monotonic() - started


def disturbed(
    project: Path, stage: tuple[str, ...], seconds: float, kills: int, rng: random.Random, log: Path
) -> int:
    """Kill a stage that takes `seconds` at random moments of its whole length, `kills` times; then
    let it end. A stage that ended first does not count, and the next kill comes sooner, since with
    all of its work kept it takes less time. How often it was killed.
    """
    killed = 0
    while killed < kills:
        pid = stage_process(project, stage, log)
        time.sleep(rng.uniform(0, seconds))
        os.kill(pid, rng.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM]))
        _, status = os.waitpid(pid, 0)
        if os.waitstatus_to_exitcode(status) != 0:
            killed += 1
        else:
            seconds *= 0.8
    run_stage(project, stage, log)
    return killed


def contents(project: Path) -> dict[str, str]:
    """Hash of every file that a run makes, by name."""
    files = (f for f in project.rglob("*") if f.is_file() and ".rosd" not in f.parts)
    return {
        str(f.relative_to(project)): hashlib.sha256(f.read_bytes()).hexdigest()
        for f in sorted(files)
    }


def work_done(log: Path) -> int:
    """Shards and optimizer steps that the processes of a log have finished."""
    return sum(
        bool(WORKED.search(line) or line.startswith("step done"))
        for line in log.read_text(encoding="utf-8").splitlines()
    )


def experiment(
    folder: Path, plan: Plan, make: Callable[[Path], None], kills: int, rng: random.Random
) -> tuple[Counter[str], int, int, float]:
    """Run a plan undisturbed and disturbed, and compare. Kills per stage, shards and steps needed,
    those done, and the ratio of CPU times. Raises SystemExit where anything differs.
    """
    whole, broken = folder / "whole", folder / "broken"
    logs = folder / "whole.log", folder / "broken.log"
    make(whole)
    make(broken)
    before = cpu_seconds()
    seconds = [run_stage(whole, stage, logs[0]) for stage in plan]
    alone, counts = cpu_seconds(), Counter()
    share = [kills * s / sum(seconds) for s in seconds]  # long stages are killed more often
    for stage, took, wanted in zip(plan, seconds, share, strict=True):
        counts[stage[0]] += disturbed(broken, stage, took, round(wanted + 0.5), rng, logs[1])
    ours, theirs = contents(broken), contents(whole)
    for name in sorted(ours.keys() | theirs.keys()):
        if ours.get(name) != theirs.get(name):
            raise SystemExit(f"differs from the undisturbed run: {name}")
    spent = (cpu_seconds() - alone) / (alone - before)
    return counts, work_done(logs[0]), work_done(logs[1]), spent


def kill_dvc(folder: Path, kills: int, rng: random.Random) -> int:
    """Kill `dvc repro` with all its processes, `rosd doctor --fix` after each; how often."""
    project, killed = folder / "dvc", 0
    make_project(project, 6, 8)
    from rosd_core.project.write import copy_parts, write_pipeline
    from stages.init_project import start_dvc

    write_pipeline(ROOT / "dvc.yaml", project)
    copy_parts(ROOT, project)
    start_dvc(project)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = os.environ | {"PYTHONPATH": str(ROOT), "PATH": path}
    quiet = {"cwd": project, "env": env, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    for _ in range(kills):
        repro = subprocess.Popen(["dvc", "repro"], start_new_session=True, **quiet)
        time.sleep(rng.uniform(2, 40))
        if repro.poll() is None:
            killed += 1
            os.killpg(repro.pid, signal.SIGKILL)
        repro.wait()
        subprocess.run(["rosd", "doctor", "--fix"], check=True, **quiet)
    done = subprocess.run(["dvc", "repro"], cwd=project, env=env, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"dvc repro failed after the kills:\n{done.stdout}{done.stderr}")
    ours, whole = contents(project), contents(folder / "loop" / "whole")
    tables = [name for name in whole if name.endswith((".parquet", ".safetensors"))]
    differ = [name for name in tables if ours.get(name) != whole[name]]
    if differ:
        raise SystemExit(f"differs after dvc repro: {', '.join(differ)}")
    return killed


def main(
    kills: Annotated[int, typer.Option(help="At least, over the loop and one epoch.")] = 100,
    dvc: Annotated[int, typer.Option(help="Kills of `dvc repro`.")] = 0,
    seed: Annotated[int, typer.Option(help="Of the moments.")] = 1,
    short: Annotated[bool, typer.Option(help="Only prepare and one rollout.")] = False,
) -> None:
    import torch

    torch.set_num_threads(1)  # before the forks
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="rosd-chaos-") as name:
        folder = Path(name)
        loop = experiment(
            folder / "loop",
            LOOP[:2] if short else LOOP,
            lambda f: make_project(f, 6, 8),
            round(0.6 * kills),
            rng,
        )
        report("the loop", *loop)
        if short:
            return
        inputs = folder / "loop" / "whole"

        def epoch(project: Path) -> None:
            make_project(project, 6, 2)  # four times the steps
            for part in ("data", "iterations/i1"):
                shutil.copytree(inputs / part, project / part)

        report(
            "one epoch", *experiment(folder / "epoch", [("distill", "i1")], epoch, kills // 2, rng)
        )
        if dvc:
            print(f"dvc repro: killed {kill_dvc(folder, dvc, rng)} times, equal tables and weights")


def cpu_seconds() -> float:
    """Of all processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def report(what: str, counts: Counter[str], needed: int, done: int, spent: float) -> None:
    print(
        f"{what}: {counts.total()} kills ({', '.join(f'{s} {n}' for s, n in counts.items())}); "
        f"every file equal; {done} shards and steps for {needed}: "
        f"{100 * (done - needed) / needed:.0f} % done again; {spent:.1f} x the CPU time"
    )


if __name__ == "__main__":
    typer.run(main)
