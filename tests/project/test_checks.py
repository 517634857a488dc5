"""What `rosd doctor` says about an installation, with facts by hand."""

import pytest

from rosd_core.project.checks import (
    check_device,
    check_disk,
    check_memory,
    check_packages,
    check_threads,
    gigabytes,
)

REQUIRED = ["torch>=2.11", "dvc<4,>=3.67", 'peft>=0.18; extra == "lora"', 'ray>=2; extra == "ray"']
GOOD = {"torch": "2.13.0+cpu", "transformers": "5.2", "polars": "1.40", "dvc": "3.67.1"}


def packages(installed: dict[str, str], **needed: str) -> list[tuple[str, str]]:
    found = check_packages(REQUIRED, ["dev", "lora", "ray"], needed, installed.get)
    return [(check.state, check.told) for check in found]


def test_packages_that_are_as_they_should_be():
    assert packages(GOOD | {"peft": "0.18"}) == [
        (
            "ok",
            "torch 2.13.0+cpu, transformers 5.2, polars 1.40, dvc 3.67.1; extras: lora; "
            "not installed, not needed: ray",
        )
    ]


def test_a_package_that_is_missing_or_of_another_version():
    assert packages(
        {"dvc": "4.0", **{k: v for k, v in GOOD.items() if k not in ("torch", "dvc")}}
    ) == [
        ("wrong", "torch is not installed: pip install -c constraints.txt -e ."),
        ("wrong", "dvc is 4.0, but has to be <4,>=3.67: pip install -c constraints.txt -e ."),
    ]


def test_an_extra_that_the_params_need():
    told = (
        "peft is not installed; distill.lora needs it: pip install -c constraints.txt -e '.[lora]'"
    )
    assert packages(GOOD, lora="distill.lora") == [("wrong", told)]
    assert packages(GOOD | {"peft": "0.17"}, lora="distill.lora")[0][0] == "wrong"
    assert packages(GOOD | {"peft": "0.18"}, lora="distill.lora")[0][0] == "ok"


@pytest.mark.parametrize(("threads", "state"), [(1, "ok"), (2, "ok"), (3, "note")])
def test_threads_beyond_the_cores(threads, state):
    assert check_threads(threads, 2).state == state


@pytest.mark.parametrize(
    ("device", "gpus", "state"),
    [("cpu", 0, "ok"), ("cuda", 1, "ok"), ("cuda", 0, "wrong"), ("cpu", 2, "note")],
)
def test_the_device_of_the_params_against_what_is_there(device, gpus, state):
    assert check_device(device, gpus).state == state


@pytest.mark.parametrize(
    ("free", "needed", "state"),
    [(10**9, 10**9, "ok"), (10**9, 2 * 10**9, "note"), (10**8, 0, "wrong")],
)
def test_disk(free, needed, state):
    assert check_disk(free, needed).state == state


def test_memory():
    assert check_memory(16 * 10**9, 10 * 10**9).state == "ok"
    short = check_memory(8 * 10**9, 10 * 10**9)
    assert short.state == "note"
    assert short.told.startswith("8.0 GB available, training needs 10 GB and its activations: ")


def test_gigabytes():
    assert [gigabytes(n) for n in (13_800_000, 10**9, 73 * 10**9)] == ["0.01 GB", "1.0 GB", "73 GB"]
