"""`dvc plots show` as it is set up in this repository: the pictures appear without a network."""

import hashlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tests.browser.support import OpenPage
from tests.support import ROOT

VENDOR = ROOT / "rosd_core" / "report" / "vendor"
ACCURACY = """iteration,domain,mean,low,high,problems,samples
base,chain,0.5,0.4,0.6,64,256
base,story,0.4,0.3,0.5,64,256
i1,chain,0.7,0.6,0.8,64,256
i1,story,0.6,0.5,0.7,64,256
"""
LOSS = """iteration,step,loss,tokens,grad_norm
i1,0,0.013,1500,0.2
i1,1,0.012,1500,0.2
i2,2,0.010,1500,0.1
i2,3,0.009,1500,0.1
i3,4,0.008,1500,0.1
i3,5,0.007,1500,0.1
"""


@pytest.fixture
def plots_project(tmp_path: Path) -> Path:
    """A DVC project without stages, with our plots, page and templates."""
    shutil.copytree(VENDOR, tmp_path / VENDOR.relative_to(ROOT))
    (tmp_path / "plots").mkdir()
    (tmp_path / "plots" / "accuracy.csv").write_text(ACCURACY)
    (tmp_path / "plots" / "loss.csv").write_text(LOSS)
    plots = {"plots": YAML(typ="safe").load((ROOT / "dvc.yaml").read_text())["plots"]}
    with (tmp_path / "dvc.yaml").open("w") as stream:
        YAML().dump(plots, stream)
    subprocess.run(
        [sys.executable, "-m", "dvc", "init", "--no-scm", "-q"], cwd=tmp_path, check=True
    )
    with (tmp_path / ".dvc" / "config").open("a") as config:
        config.write((ROOT / ".dvc" / "config").read_text().partition("analytics = false\n")[2])
    shutil.copytree(ROOT / ".dvc" / "plots", tmp_path / ".dvc" / "plots")
    return tmp_path


@pytest.mark.stage
def test_the_pictures_are_drawn_offline(plots_project: Path, open_page: OpenPage):
    command = [sys.executable, "-m", "dvc", "plots", "show"]
    done = subprocess.run(command, cwd=plots_project, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    opened = open_page(plots_project / "dvc_plots" / "index.html")
    opened.page.wait_for_selector("svg.marks >> nth=1")
    accuracy, loss = opened.page.query_selector_all("svg.marks")
    # a line per domain; an interval per domain and iteration
    assert len(accuracy.query_selector_all(".mark-line path")) == 2
    assert len(accuracy.query_selector_all(".mark-rule.layer_0_marks line")) == 4
    assert len(loss.query_selector_all(".mark-line path")) == 3  # a line per iteration
    texts = {text.text_content() for text in accuracy.query_selector_all("text")}
    assert {"chain", "story", "base", "i1", "70%"} <= texts
    assert opened.errors == []
    assert opened.requests == []


def test_the_scripts_are_those_that_the_readme_names():
    page = (VENDOR / "plots.html").read_text(encoding="utf-8")
    scripts = re.findall(r"<script>/\*! (\S+) (\S+), .*? \*/\n(.*?)\n</script>", page, re.DOTALL)
    lines = [
        f"{hashlib.sha256(script.encode()).hexdigest()}  {name} {version}"
        for name, version, script in scripts
    ]
    assert len(lines) == 3
    assert "\n".join(lines) in (VENDOR / "README.md").read_text(encoding="utf-8")
