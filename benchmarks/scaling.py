"""Time per token and peak memory of `score` and `distill` with 1, 3 and 10 times the rows.

    python benchmarks/scaling.py [--unit 192]

Samples the rows once with the pocket model (10 units of problems), then runs both stages on the
first part of them, each in a process of its own.
"""

import json
import shutil
import subprocess
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer
from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parent.parent
FACTORS = (1, 3, 10)


def in_process(stage: str, folder: Path) -> None:
    """Run a stage here; print seconds without imports and the peak memory in MiB."""
    from rosd_core.config.load import load_params
    from stages.paths import Paths

    module = import_module(f"stages.{stage}")
    import_module("rosd_core.sampling.engine")
    params = load_params(folder / "params.yaml")
    args = [] if stage == "prepare" else ["i1"]
    started = time.perf_counter()
    module.run(params, Paths(folder), *args)
    seconds = time.perf_counter() - started
    status = Path("/proc/self/status").read_text().splitlines()
    peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM:"))
    print(json.dumps({"seconds": seconds, "mib": peak / 1024}))


def stage(name: str, folder: Path) -> dict[str, float]:
    command = [sys.executable, __file__, "--stage", name, "--folder", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def prepared(folder: Path, unit: int) -> None:
    """A project whose first iteration is aligned, with 10 units of problems."""
    yaml = YAML()
    data = yaml.load((ROOT / "params.yaml").read_text())
    data["prepare"]["domains"]["chain"]["train"] = FACTORS[-1] * unit
    data["rollout"]["problems"] = FACTORS[-1] * unit
    yaml.dump(data, folder / "params.yaml")
    shutil.copytree(ROOT / "models" / "base", folder / "models" / "base")
    for name in ("prepare", "rollout", "reflect", "align"):
        stage(name, folder)


def per_token(
    size: tuple[int, float, float], smaller: tuple[int, float, float] = (0, 0.0, 0.0)
) -> float:
    """Microseconds a supervised token, of what `size` has beyond `smaller`: without the start of
    the stage, which both contain.
    """
    return (size[1] - smaller[1]) / (size[0] - smaller[0]) * 1e6


def main(
    unit: int = 192,
    stage_name: Annotated[str, typer.Option("--stage", hidden=True)] = "",
    folder: Annotated[Path, typer.Option(hidden=True)] = Path(),
) -> None:
    """Print a Markdown table."""
    sys.path.insert(0, str(ROOT))
    if stage_name:
        in_process(stage_name, folder)
        return
    from rosd_core.tables.io import read_table, write_table
    from rosd_core.tables.origin import read_origin

    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        prepared(home, unit)
        file = home / "iterations" / "i1" / "alignments.parquet"
        whole, origin = read_table("alignments", file), read_origin(file, "align")
        print("| stage | rows | supervised tokens | µs a token | µs a further token | ratio | "
              "peak MiB | ratio |\n" + "| --- " * 8 + "|")  # fmt: skip
        sizes: dict[str, list[tuple[int, float, float]]] = {"score": [], "distill": []}
        for factor in FACTORS:
            rows = whole.head(len(whole) * factor // FACTORS[-1])
            write_table("alignments", rows.to_dicts(), file, origin=origin)
            tokens = int(rows["positions"].list.len().sum())
            for part, known in sizes.items():
                runs = [stage(part, home) for _ in range(2)]
                seconds, peak = (min(t[name] for t in runs) for name in ("seconds", "mib"))
                known.append((tokens, seconds, peak))
                further = per_token(known[-1], known[-2]) if len(known) > 1 else None
                base = per_token(known[1], known[0]) if further else None
                print(f"| {part} | {len(rows)} | {tokens} | {per_token(known[-1]):.0f} | "
                      f"{f'{further:.0f}' if further else '–'} | "
                      f"{f'{further / base:.2f}' if further and base else '–'} | "
                      f"{peak:.0f} | {peak / known[0][2]:.2f} |", flush=True)  # fmt: skip


if __name__ == "__main__":
    typer.run(main)
