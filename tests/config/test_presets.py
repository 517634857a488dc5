"""Presets: what they write into params.yaml, and that their shape runs."""

import json
import shutil

import polars as pl
import pytest
from typer.testing import CliRunner

from rosd_core.config.load import load_params
from rosd_core.config.presets import apply_presets, combine, missing_files, names, overlay
from rosd_core.errors import RosdError
from rosd_core.tables.io import read_table, write_table
from rosd_core.tables.origin import read_origin
from stages.cli import app
from tests.support import ROOT, run_stage, write_params

PRESETS = ROOT / "presets"
SETS = ["biology", "chemistry", "material", "physics", "tooluse"]
MODELS = ["qwen3-4b", "qwen3-8b"]


def test_overlay_by_hand():
    under = {"a": {"x": 1, "y": 2}, "b": [1, 2]}
    assert overlay(under, {"a": {"y": 3}, "b": [4]}) == {"a": {"x": 1, "y": 3}, "b": [4]}
    assert under == {"a": {"x": 1, "y": 2}, "b": [1, 2]}


def test_what_is_extended_lies_below_in_any_order():
    """tooluse has 5 epochs, published 10: the model named after the set must not put 10 back."""
    assert combine(PRESETS, ["tooluse", "qwen3-4b"]) == combine(PRESETS, ["qwen3-4b", "tooluse"])
    assert combine(PRESETS, ["tooluse", "qwen3-4b"])["loop"] == 5


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("trained", SETS)
def test_each_published_run_is_valid_and_holds_the_published_values(tmp_path, model, trained):
    """The values are those of ../shared/method.md, "Defaults of the published main run"."""
    file = write_params(tmp_path, {})
    comments = file.read_text().count("#")
    p = apply_presets(file, PRESETS, [model, trained])
    assert p.prepare.trained() == [trained]
    assert list(p.prepare.domains) == [*SETS, "aime24"]
    assert all(domain.test == "all" for domain in p.prepare.domains.values())
    assert len(p.loop) == (5 if trained == "tooluse" else 10)
    assert (p.rollout.group_size, p.rollout.temperature, p.rollout.top_p) == (8, 1.0, 1.0)
    assert (p.rollout.max_prompt_tokens, p.rollout.max_new_tokens) == (2048, 8192)
    assert (p.score.max_prompt_tokens, p.score.top_k, p.score.teacher) == (10240, 100, "base")
    d = p.distill
    assert (d.learning_rate, d.warmup_steps, d.betas) == (1e-5, 10, (0.9, 0.999))
    assert (d.weight_decay, d.grad_clip, d.alpha, d.importance_clip) == (0.01, 1.0, 0.5, 2.0)
    assert d.rows_per_step == 32 * 8
    e = p.evaluate
    assert (e.samples, e.temperature, e.top_p) == (16, 0.6, 0.95)
    assert not any(p.prompts.thinking.model_dump().values())
    assert p.machine.device == "cuda"
    assert file.read_text().count("#") >= comments - 5  # comments of what was replaced may go


def test_prompts_hardware_and_data_can_be_had_alone(tmp_path):
    file = write_params(tmp_path, {})
    before = load_params(file)
    after = apply_presets(file, PRESETS, ["prompts"])
    assert "<error_quote>" in after.prompts.reflect_wrong
    assert after.model_copy(update={"prompts": before.prompts}) == before
    after = apply_presets(file, PRESETS, ["gpu"])
    assert (after.machine.device, after.distill.autocast) == ("cuda", "bfloat16")
    assert after.prepare == before.prepare
    assert apply_presets(file, PRESETS, ["cpu"]).distill == before.distill
    after = apply_presets(file, PRESETS, ["sciknoweval", "biology"])
    assert after.prepare.trained() == ["biology"]


def test_unknown_names_and_bad_values_leave_params_as_they_were(tmp_path):
    file = write_params(tmp_path, {})
    before, folder = file.read_text(), tmp_path / "presets"
    folder.mkdir()
    (folder / "odd.yaml").write_text("rollout: {problms: 3}\n")
    (folder / "nowhere.yaml").write_text("rolout: {problems: 3}\n")
    with pytest.raises(RosdError, match=r"preset 'bio' is unknown; there are: .*biology"):
        apply_presets(file, PRESETS, ["bio"])
    with pytest.raises(RosdError, match=r"rollout.problms.*Did you mean 'problems'"):
        apply_presets(file, folder, ["odd"])
    with pytest.raises(RosdError, match=r"no key 'rolout'"):
        apply_presets(file, folder, ["nowhere"])
    assert file.read_text() == before


def test_the_command_names_files_that_are_not_there(tmp_path):
    file = write_params(tmp_path, {})
    shutil.copytree(PRESETS, tmp_path / "presets")
    done = CliRunner().invoke(app, ["preset", "qwen3-4b", "physics", "--params", str(file)])
    assert done.exit_code == 0, done.output
    assert "not there yet: data/sciknoweval/physics/train.jsonl" in done.output
    assert "biology/train.jsonl" not in done.output  # only evaluated on


def small_sets(folder):
    """Files in the layout of each set, of our own making."""

    def lines(path, rows):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(map(json.dumps, rows)))

    for name in ("biology", "chemistry", "material", "physics"):
        for split in ("train", "test"):
            rows = [
                {
                    "prompt": f"{name} {split} {n}?\nA: yes\nB: no",
                    "answer": "A",
                    "system": "Choose.",
                }
                for n in range(4)
            ]
            lines(folder / "data" / "sciknoweval" / name / f"{split}.jsonl", rows)
    call = json.dumps([{"Action": "search", "Action_Input": json.dumps({"q": "x"})}])
    for split in ("train", "test"):
        rows = [
            {"prompt": f"{split} {n}: search x", "answer": call, "system": "Tools."}
            for n in range(4)
        ]
        lines(folder / "data" / "tooluse" / f"{split}.jsonl", rows)
    lines(folder / "data" / "aime24" / "test.jsonl", [{"problem": "1 + 1?", "answer": "2"}])


# of the sets of SciKnowEval, which have one format, the first; the others with the slow tests
RUN = [
    pytest.param(name, marks=() if name in ("biology", "tooluse") else pytest.mark.slow)
    for name in SETS
]


@pytest.mark.stage
@pytest.mark.parametrize("trained", RUN)
def test_the_shape_of_each_preset_runs_with_a_tiny_random_model(tmp_path, tokenizer, trained):
    """Every stage with the preset's prompts and values, but for lengths, rows and the device.

    A random model solves nothing, so one response of each group is marked as correct, and peers
    stand for the ideas that it does not have.
    """
    from rosd_core.pocket.recipe import build_model

    small_sets(tmp_path)
    file = write_params(tmp_path, {})
    p = apply_presets(file, PRESETS, [MODELS[0], trained])
    assert missing_files(p, tmp_path) == []
    changes = {
        "machine": {"threads": 1, "device": "cpu"},
        "loop": {"i1": {"start": "base"}},
        "rollout": {"problems": 2, "max_new_tokens": 12},
        "reflect": {"max_new_tokens": 12},
        "evaluate": {"samples": 2, "max_new_tokens": 12},
    }
    from ruamel.yaml import YAML

    data = YAML().load(file.read_text())
    for section, values in changes.items():
        data[section] = values if section == "loop" else data[section] | values
    for name, domain in data["prepare"]["domains"].items():
        for split in ("train", "test"):
            if domain[f"{split}_file"]:
                domain[f"{split}_file"] = str(tmp_path / domain[f"{split}_file"])
        assert name in p.prepare.domains
    YAML().dump(data, file)
    shape = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    shape |= {"num_key_value_heads": 1, "head_dim": 16, "intermediate_size": 32}
    model = build_model(tokenizer, 0, **shape, max_position_embeddings=4096)
    for saved in (model, tokenizer):
        saved.save_pretrained(tmp_path / "elsewhere")
    done = CliRunner().invoke(app, ["base", str(tmp_path / "elsewhere"), "--params", str(file)])
    assert done.exit_code == 0, done.output

    run_stage(tmp_path, "prepare")
    run_stage(tmp_path, "rollout", "i1")
    table = tmp_path / "iterations" / "i1" / "rollouts.parquet"
    rollouts = read_table("rollouts", table)
    first = pl.col("sample") == 0
    rows = rollouts.with_columns(
        success=first | pl.col("success"), reward=pl.when(first).then(1.0).otherwise("reward")
    ).to_dicts()
    write_table("rollouts", rows, table, origin=read_origin(table, "rosd rollout"))
    run_stage(tmp_path, "reflect", "i1")
    reflections = read_table("reflections", table.with_name("reflections.parquet"))
    assert reflections["skip_reason"].is_null().all()
    data["align"] |= {"teacher_context": "peer", "mask": "all"}
    YAML().dump(data, file)
    for stage in ("align", "score", "distill", "evaluate"):
        run_stage(tmp_path, stage, "i1")
    scores = read_table("scores", table.with_name("scores.parquet"))
    assert set(scores["support_ids"].explode().list.len()) == {100}
    samples = read_table("evaluation", tmp_path / "evaluations" / "i1.parquet")
    assert set(samples["domain"]) == {*SETS, "aime24"}


def test_the_list_of_presets_is_that_of_the_folder():
    parts = ["cpu", "gpu", "prompts", "sciknoweval", "vllm"]
    assert names(PRESETS) == sorted([*parts, "published", *SETS, *MODELS])
