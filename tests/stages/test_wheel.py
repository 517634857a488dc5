"""A wheel holds every folder of the core and runs without the repository."""

import shutil
import subprocess
import sys
import zipfile

import pytest

from tests.support import ROOT

pytestmark = pytest.mark.stage


def test_a_wheel_holds_every_module_and_runs(tmp_path):
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    source = tmp_path / "source"
    for name in ("rosd_core", "stages"):
        shutil.copytree(ROOT / name, source / name)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    build = [*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", tmp_path, source]
    subprocess.run(build, check=True, capture_output=True, cwd=tmp_path)
    (wheel,) = tmp_path.glob("rosd-*.whl")
    modules = {f for d in ("rosd_core", "stages") for f in (ROOT / d).rglob("*.py")}
    report = ROOT / "rosd_core" / "report"
    modules |= {f for d in ("vendor", "page/assets") for f in (report / d).iterdir()}
    packed = set(zipfile.ZipFile(wheel).namelist())
    vendored = set((ROOT / "rosd_core" / "report" / "vendor").iterdir())
    assert {str(f.relative_to(ROOT)) for f in modules | vendored} <= packed
    target = tmp_path / "installed"
    install = [*pip, "install", "--no-deps", "--target", target, wheel]
    subprocess.run(install, check=True, capture_output=True)
    code = f"import sys; sys.path.insert(0, {str(target)!r}); import stages.cli as c; c.app()"
    for command in ("--help", "schema"):
        args = [sys.executable, "-I", "-c", code, command]
        done = subprocess.run(args, cwd=tmp_path, capture_output=True, text=True, check=True)
        assert "rollout" in done.stdout
