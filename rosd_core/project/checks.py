"""What `rosd doctor` says about an installation: a judgement per fact. The facts are gathered
elsewhere, so that each can be tested with numbers by hand.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from packaging.requirements import Requirement

LEAST_DISK = 200_000_000  # bytes: less stops the smallest run
SHOWN = ("torch", "transformers", "polars", "dvc")
FOR_DEVELOPERS = ("dev", "trl")
INSTALL = "pip install -c constraints.txt -e"


@dataclass(frozen=True)
class Check:
    """The result of a check. `wrong`: a run would stop; `note`: it would be slow, or do something
    else than expected. Both say what to do.
    """

    name: str
    told: str
    state: Literal["ok", "note", "wrong"] = "ok"


def check_packages(
    requirements: Sequence[str],
    extras: Sequence[str],
    needed: Mapping[str, str],
    version_of: Callable[[str], str | None],
) -> list[Check]:
    """Whether the packages are there, in versions that rosd works with. `requirements` as in a
    package's metadata; `needed`: extra -> the setting that needs it; `version_of` a package: None
    where it is not installed.
    """
    found, there, missing = [], [], []
    for problem in _unmet(requirements, None, version_of):
        found.append(Check("packages", f"{problem}: {INSTALL} .", "wrong"))
    for extra in sorted(set(extras) - set(FOR_DEVELOPERS)):
        problems = _unmet(requirements, extra, version_of)
        (missing if problems else there).append(extra)
        if problems and extra in needed:
            why = f"{needed[extra]} needs it: {INSTALL} '.[{extra}]'"
            found += [Check("packages", f"{problem}; {why}", "wrong") for problem in problems]
    if any(check.state == "wrong" for check in found):
        return found
    versions = ", ".join(f"{name} {version_of(name)}" for name in SHOWN)
    have = f"; extras: {', '.join(there)}" if there else ""
    lacks = f"; not installed, not needed: {', '.join(missing)}" if missing else ""
    return [Check("packages", f"{versions}{have}{lacks}")]


def _unmet(
    requirements: Sequence[str], extra: str | None, version_of: Callable[[str], str | None]
) -> list[str]:
    """The requirements of an extra, or those without one, that are not met, a phrase each."""
    unmet = []
    for text in requirements:
        wanted = Requirement(text)
        always = wanted.marker is None or wanted.marker.evaluate({"extra": ""})
        mine = wanted.marker is not None and wanted.marker.evaluate({"extra": extra or ""})
        if (extra is None and not always) or (extra is not None and (always or not mine)):
            continue
        version = version_of(wanted.name)
        if version is None:
            unmet.append(f"{wanted.name} is not installed")
        elif not wanted.specifier.contains(version, prereleases=True):
            unmet.append(f"{wanted.name} is {version}, but has to be {wanted.specifier}")
    return unmet


def check_threads(threads: int, cores: int) -> Check:
    """machine.threads against the cores that this process may use."""
    told = f"machine.threads {threads}, {cores} cores"
    if threads > cores:
        hint = f"more threads than cores are slow: set machine.threads to {cores} or less"
        return Check("threads", f"{told}: {hint}", "note")
    return Check("threads", told)


def check_device(device: str, gpus: int) -> Check:
    """machine.device against what torch sees."""
    if device == "cuda" and not gpus:
        told = "machine.device is cuda, but torch sees no GPU: set machine.device to cpu"
        return Check("device", told, "wrong")
    if device == "cpu" and gpus:
        told = f"machine.device is cpu, and torch sees {gpus} GPUs: set it to cuda to use one"
        return Check("device", told, "note")
    return Check("device", device)


def check_disk(free: int, needed: int) -> Check:
    """Free bytes of the project's disk against what all iterations write."""
    told = f"{gigabytes(free)} free"
    if free < LEAST_DISK:
        return Check(
            "disk", f"{told}: free some space; `rosd clean`, `dvc gc --workspace`", "wrong"
        )
    if free < needed:
        hint = "`rosd clean`, `dvc gc --workspace`, or fewer iterations (`rosd loop`)"
        return Check("disk", f"{told}, the loop may write {gigabytes(needed)}: {hint}", "note")
    return Check("disk", told)


def check_memory(free: int, needed: int) -> Check:
    """Available bytes of memory against weights, gradients and the optimizer's state."""
    told = f"{gigabytes(free)} available, training needs {gigabytes(needed)} and its activations"
    if free < needed:
        hint = "use an adapter (distill.lora), a smaller model, or a larger machine"
        return Check("memory", f"{told}: {hint}", "note")
    return Check("memory", told)


def gigabytes(count: int) -> str:
    """Bytes as `0.01 GB`, `12 GB`."""
    amount = count / 1e9
    return f"{amount:.{2 if amount < 1 else 1 if amount < 10 else 0}f} GB"
