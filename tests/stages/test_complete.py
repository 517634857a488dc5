"""Shell completion, and the options of `rosd` itself."""

import os

import pytest
from typer.testing import CliRunner

from rosd_core.config.methods import METHODS
from rosd_core.tables.schemas import SCHEMAS
from stages.cli import app
from tests.show.support import PEER_ID, PROBLEM_ID, ROLLOUT_ID, write_project
from tests.support import ROOT, command


def completed(project, monkeypatch, *words: str) -> list[str]:
    """What bash is offered for the last of the words."""
    monkeypatch.chdir(project)
    env = {
        "_ROSD_COMPLETE": "complete_bash",
        "COMP_WORDS": " ".join(["rosd", *words]),
        "COMP_CWORD": str(len(words)),
    }
    ran = CliRunner().invoke(app, [], env=env, prog_name="rosd")
    assert not ran.stderr
    return ran.stdout.split()


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["rollout", ""], ["i1"]),
        (["evaluate", ""], ["base", "i1"]),
        (["evaluate", "b"], ["base"]),
        (["diff", "base", ""], ["base", "i1"]),
        (["schema", ""], list(SCHEMAS)),
        (["schema", "ro"], ["rollouts"]),
        (["method", ""], list(METHODS)),
        (["method", "op"], ["opsd", "opsa"]),
        (["preset", "qwen3-4b", "bio"], ["biology"]),
        (["show", ""], [ROLLOUT_ID, PEER_ID]),
        (["show", "--problem", ""], [PROBLEM_ID]),
        (["show", "--iteration", ""], ["i1"]),
        (["study", ""], []),
    ],
)
def test_names_that_are_there(project, monkeypatch, words, offered):
    write_project(project)
    assert completed(project, monkeypatch, *words) == offered


def test_studies_of_the_project(monkeypatch):
    assert "quick" in completed(ROOT, monkeypatch, "study", "q")


@pytest.mark.parametrize("params", [None, "loop: [", "- 1"])
def test_without_a_project_nothing_is_offered_and_nothing_said(tmp_path, monkeypatch, params):
    if params is not None:
        (tmp_path / "params.yaml").write_text(params)
    for words in (["rollout", ""], ["show", ""], ["diff", ""]):
        assert completed(tmp_path, monkeypatch, *words) == []


def test_quiet_is_an_option_before_the_command(project, monkeypatch):
    monkeypatch.setenv("ROSD_QUIET", "0")
    assert command(project, "schema", "problems")[0] == 0
    assert os.environ["ROSD_QUIET"] == "0"
    assert command(project, "--quiet", "schema", "problems")[0] == 0
    assert os.environ["ROSD_QUIET"] == "1"
