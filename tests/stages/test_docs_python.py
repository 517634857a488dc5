"""Every block of Python in the documentation runs in a project whose first iteration is scored. One
that loads from the hub (`USER/NAME`) is only compiled.
"""

import contextlib
import shutil

import pytest

from tests.docs.pages import PAGES, blocks
from tests.support import ROOT, run_stage

pytestmark = pytest.mark.stage

BLOCKS = [
    pytest.param(text, id=f"{page.stem}-{number}")
    for page in PAGES
    for number, text in enumerate(blocks(page, "python"))
]


@pytest.fixture(scope="module")
def scored(reflected, tmp_path_factory):
    folder = tmp_path_factory.mktemp("docs") / "project"
    shutil.copytree(reflected, folder)
    for stage in ("align", "score"):
        run_stage(folder, stage, "i1")
    for name in ("models/i3", "my-model"):  # as if three were trained, and the last one exported
        shutil.copytree(ROOT / "models" / "base", folder / name)
    return folder


@pytest.mark.parametrize("text", BLOCKS)
def test_python_in_the_documentation_runs(scored, text):
    code = compile(text, "docs", "exec")
    if "USER/NAME" in text:
        return
    with contextlib.chdir(scored):
        exec(code, {"__name__": "docs"})


def test_there_is_python_to_run():
    assert len(BLOCKS) >= 3
