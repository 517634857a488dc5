"""The project folder of the taught SmolLM2, without its model."""

import importlib.util

import pytest

from rosd_core.config.load import load_params
from rosd_core.config.study import load_study, runs_of
from tests.support import ROOT

pytestmark = pytest.mark.stage
SCRIPT = ROOT / "examples" / "smollm2" / "taught_project.py"


def test_its_params_and_its_study_are_valid(tmp_path):
    spec = importlib.util.spec_from_file_location("taught_project", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.main(tmp_path)
    params = load_params(tmp_path / "params.yaml")
    assert params.finetune is not None and params.finetune.lora is not None
    assert not params.finetune.lora.merge
    runs = runs_of(load_study(tmp_path / "study" / "methods.yaml"), params)
    assert len(runs) == 6 * 2  # three methods, two divergences; two seeds
    assert (tmp_path / "dvc.yaml").is_file()
