"""Fixtures of the fault tests."""

import shutil

import pytest

from tests.faults.support import make_scored


@pytest.fixture(scope="session")
def scored_once(tmp_path_factory):
    return make_scored(tmp_path_factory.mktemp("scored"))


@pytest.fixture
def scored(scored_once, tmp_path):
    """A copy of a project whose first iteration is scored."""
    shutil.copytree(scored_once, tmp_path / "project")
    return tmp_path / "project"
