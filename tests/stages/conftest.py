"""What several tests of stages start from."""

import shutil

import pytest

from tests.support import ROOT, SMALL, run_stage, write_params


@pytest.fixture(scope="module")
def reflected(tmp_path_factory):
    """A project with rollouts and reflections of the pocket model; some groups lack success."""
    folder = tmp_path_factory.mktemp("reflected")
    write_params(folder, SMALL)
    shutil.copytree(ROOT / "models" / "base", folder / "models" / "base")
    run_stage(folder, "prepare")
    for stage in ("rollout", "reflect"):
        run_stage(folder, stage, "i1")
    return folder
