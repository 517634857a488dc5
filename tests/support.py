"""What the tests share: the project's root, small params, running a stage in this process."""

import contextlib
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from rosd_core.config.load import load_params
from rosd_core.config.prompts import FIELDS
from rosd_core.losses.token_losses import LossSettings
from rosd_core.pocket.world import DOMAINS
from rosd_core.prompts.templates import Prompts
from stages.paths import Paths

ROOT = Path(__file__).resolve().parent.parent
SMALL = {
    "prepare": {
        "domains": {
            name: {
                "task": "pocket",
                "domain": name,
                "steps": [3, 4, 5],
                "train": 12 if name == "chain" else 0,
                "test": 3,
            }
            for name in DOMAINS
        }
    },
    "loop": {"i1": {"start": "base"}},
    "machine": {"threads": 1},
    "rollout": {"problems": 6, "group_size": 4, "shard_problems": 3},
    "evaluate": {"samples": 2},
    "distill": {"rows_per_step": 8, "batch_tokens": 200},
}


def write_params(folder: Path, changes: dict) -> Path:
    """The shipped params with some values changed, in `folder`."""
    yaml = YAML()
    data = yaml.load((ROOT / "params.yaml").read_text())
    for section, values in changes.items():
        if section == "loop":
            data["loop"] = values
        else:
            data[section].update(values)
    file = folder / "params.yaml"
    yaml.dump(data, file)
    return file


def engine_params(**parts: dict) -> dict:
    """The section `engine` of the shipped params with some values of its parts changed."""
    engine = load_params(ROOT / "params.yaml").engine.model_dump()
    return engine | {name: engine[name] | values for name, values in parts.items()}


PROMPTS = Prompts(load_params(ROOT / "params.yaml").prompts.only(*FIELDS))

LOSS = LossSettings(
    loss="divergence", alpha=0.5, tail="bucket", importance_clip=2.0, entry_clip=None,
    policy_clip=0.2, kl_weight=0.04, unlikely=0.2, support="student", top_k=16,
)  # fmt: skip

FIXTURES = ROOT / "tests" / "fixtures" / "data"  # in the layout of the real sets, written for tests
SHARED = ROOT.parent / "shared" / "data"  # the real sets, where somebody has put them
no_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="../shared/data is not there")
on_fixtures_and_real_sets = pytest.mark.parametrize(
    "data",
    [pytest.param(FIXTURES, id="fixtures"), pytest.param(SHARED, id="real", marks=no_shared)],
)


def run_stage(project: Path, stage: str, *args: str | None) -> None:
    """A stage in this process, on a project folder."""
    from importlib import import_module

    params = load_params(project / "params.yaml")
    import_module(f"stages.{stage}").run(params, Paths(project), *args)


def command(project: Path, *args: str) -> tuple[int, str]:
    """`rosd ARGS` in this process, in the project's folder: exit code, and all that it says."""
    from typer.testing import CliRunner

    from stages.cli import app

    with contextlib.chdir(project):
        ran = CliRunner().invoke(app, list(args))
    if ran.exception is not None and not isinstance(ran.exception, SystemExit):
        raise ran.exception
    return ran.exit_code, ran.output


def refused(project: Path, *args: str) -> str:
    """The one message of a command that has to refuse its input, without `rosd COMMAND: `."""
    code, said = command(project, *args)
    assert code == 1, (code, said)
    last = [line for line in said.splitlines() if line.startswith("rosd ")]
    assert len(last) == 1, said
    assert "Traceback" not in said
    return last[0].split(": ", 1)[1]
