"""`rosd track`, `rosd export` and `rosd push --dry-run` on a small project that has run."""

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from rosd_core.share.header import read_header
from tests.support import ROOT, SMALL, command, refused, run_stage, write_params

pytestmark = pytest.mark.stage


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with every table of one iteration."""
    folder = tmp_path_factory.mktemp("shared")
    write_params(folder, SMALL)
    shutil.copytree(ROOT / "models" / "base", folder / "models" / "base")
    run_stage(folder, "prepare")
    for stage in ("rollout", "reflect", "align", "score", "distill"):
        run_stage(folder, stage, "i1")
    for model in ("base", "i1"):
        run_stage(folder, "evaluate", model)
    return folder


def test_an_exported_model_generates_what_the_iteration_does(shared: Path, tmp_path: Path):
    code, said = command(shared, "export", str(tmp_path / "out"))
    assert code == 0, said
    texts = []
    for folder in (shared / "models" / "i1", tmp_path / "out"):
        model: Any = AutoModelForCausalLM.from_pretrained(folder)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        chat = [{"role": "user", "content": "Start with 30. Take away 12. Add 3."}]
        inputs = tokenizer.apply_chat_template(
            chat, add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        made = model.generate(**inputs, max_new_tokens=24, do_sample=False)
        texts.append(made[0].tolist())
    assert texts[0] == texts[1]
    assert read_header(tmp_path / "out" / "README.md")["license"] == "apache-2.0"
    metrics = json.loads((shared / "metrics" / "evaluate-i1.json").read_text())
    mean = f"{100 * metrics['chain']['mean']:.1f}"
    (row,) = [
        line
        for line in (tmp_path / "out" / "README.md").read_text().splitlines()
        if line.startswith("| chain *")
    ]
    assert row.split(" | ")[2].startswith(f"{mean} [")
    assert "is there already" in refused(shared, "export", str(tmp_path / "out"))
    assert "'i7' is not in params.yaml: loop" in refused(
        shared, "export", str(tmp_path / "new"), "--iteration", "i7"
    )


def test_what_would_be_pushed_loads_config_by_config(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    code, said = command(shared, "push", "me/tables", "--dry-run", str(tmp_path / "out"))
    assert code == 0, said
    assert "7 tables and their card; nothing was pushed" in said
    ours = {
        "problems": {"problems": "data/problems.parquet"},
        "rollouts": {"i1": "iterations/i1/rollouts.parquet"},
        "reflections": {"i1": "iterations/i1/reflections.parquet"},
        "alignments": {"i1": "iterations/i1/alignments.parquet"},
        "scores": {"i1": "iterations/i1/scores.parquet"},
        "evaluation": {"base": "evaluations/base.parquet", "i1": "evaluations/i1.parquet"},
    }
    found = {
        config["config_name"]: {f["split"]: f["path"] for f in config["data_files"]}
        for config in read_header(tmp_path / "out" / "README.md")["configs"]
    }
    assert {name: list(splits) for name, splits in found.items()} == {
        name: list(splits) for name, splits in ours.items()
    }
    for name, splits in found.items():
        for split, path in splits.items():
            pushed = pq.read_table(tmp_path / "out" / path)
            assert pushed.equals(pq.read_table(shared / ours[name][split]))
            assert b"rosd" not in (pushed.schema.metadata or {})  # it names files of this machine
            assert pushed.schema.field(0).metadata[b"unit"] == b"id" or name == "evaluation"
    datasets = pytest.importorskip("datasets", reason="datasets is not installed")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_OFFLINE", True)
    cache = str(tmp_path / "cache")
    for name, splits in found.items():
        data = datasets.load_dataset(str(tmp_path / "out"), name, cache_dir=cache)
        for split, path in splits.items():
            assert data[split].num_rows == pq.read_metadata(tmp_path / "out" / path).num_rows


def test_a_push_without_a_token_or_a_network_is_one_message(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    assert "log in with `hf auth login`" in refused(shared, "push", "me/tables")
    monkeypatch.setattr("huggingface_hub.get_token", lambda: "hf_none")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert "me/tables: it could not be pushed: " in refused(shared, "push", "me/tables")


def test_stale_tables_are_neither_pushed_nor_exported(shared: Path, tmp_path: Path):
    project = tmp_path / "project"
    shutil.copytree(shared, project, symlinks=True)
    params = project / "params.yaml"
    params.write_text(params.read_text().replace("  samples: 2 ", "  samples: 3 "))
    for arguments in (["push", "me/tables", "--dry-run", "out"], ["export", "out"]):
        assert "made with evaluate.samples = 2, but params.yaml has 3" in refused(
            project, *arguments
        )
        assert not (project / "out").exists()


def test_results_are_tracked_once(shared: Path, tmp_path: Path):
    assert "track.to is none" in refused(shared, "track")
    pytest.importorskip("tensorboard", reason="tensorboard is not installed (extra track)")
    project = tmp_path / "project"
    shutil.copytree(shared, project, symlinks=True)
    params = project / "params.yaml"
    params.write_text(params.read_text().replace("  to: none ", "  to: tensorboard "))
    steps = len((project / "curves" / "i1.csv").read_text().splitlines()) - 1
    code, said = command(project, "track")
    assert code == 0, said
    assert f": {steps + 2} points sent" in said  # the steps, base and i1
    files = {f: f.stat().st_mtime_ns for f in (project / ".rosd" / "tensorboard").rglob("events*")}
    assert len(files) == 1
    code, said = command(project, "track")
    assert "was sent before" in said
    again = (project / ".rosd" / "tensorboard").rglob("events*")
    assert {f: f.stat().st_mtime_ns for f in again} == files
