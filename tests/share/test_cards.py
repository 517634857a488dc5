"""Cards from hand-made facts."""

import copy
from dataclasses import replace
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from rosd_core.config.load import load_params
from rosd_core.config.methods import method_of
from rosd_core.errors import RosdError
from rosd_core.share.dataset import Shared, dataset_card
from rosd_core.share.header import read_header, table, without_folders
from rosd_core.share.hub import check_name
from rosd_core.share.model_card import Base, ModelFacts, model_card, teacher_of
from tests.support import ROOT

SETTINGS = load_params(ROOT / "params.yaml").model_dump(mode="json")


def facts(base: Base) -> ModelFacts:
    return ModelFacts(
        base=base,
        iteration="i2",
        iterations=["i1", "i2"],
        settings=SETTINGS,
        metrics={
            "rollout": {"rollouts": 768, "success_share": 0.625},
            "distill": {"rows": 700, "supervised_tokens": 18000, "steps": 11},
        },
        before={"chain": {"mean": 0.5, "low": 0.4375, "high": 0.5625}},
        after={"chain": {"mean": 0.75, "low": 0.6875, "high": 0.8125}},
        trained={"chain": 480},
    )


def written(folder: Path, card: str) -> dict:
    (folder / "README.md").write_text(card, encoding="utf-8")
    return read_header(folder / "README.md")


def test_the_model_card_says_what_was_done_and_what_it_gained(tmp_path: Path):
    card = model_card(facts(Base("Qwen/Qwen3-0.6B", True, "abc123", "apache-2.0")))
    assert written(tmp_path, card) == {
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["rosd", "self-distillation"],
        "license": "apache-2.0",
        "base_model": "Qwen/Qwen3-0.6B",
        "base_model_relation": "finetune",
    }
    # 0.4375 is 43.75, which rounds to even: 43.8; 0.5625: 56.2
    assert "| chain * | 50.0 [43.8, 56.2] | 75.0 [68.8, 81.2] | +25.0 |" in card
    assert "(revision `abc123`)" in card
    assert "method `rosd`, iterations: i1, i2" in card
    assert "The teacher was the base model, frozen; beside the problem it read: `idea`." in card
    assert "Trained on `chain` (480 problems, task `pocket`)" in card
    assert "| of them correct | 62.5 % |" in card
    settings = YAML(typ="safe").load(card.partition("```yaml\n")[2].partition("```")[0])
    assert settings["distill"]["learning_rate"] == 2e-05
    assert "url" not in settings["reflect"]  # where somebody's server is


def test_the_model_card_has_the_solved_examples_of_the_prompt():
    settings = copy.deepcopy(SETTINGS)
    shown = [{"problem": "What is 1+1?", "response": "Answer: 2"}]
    settings["prompts"]["examples"]["plain"] = shown
    card = model_card(replace(facts(Base("Qwen/Qwen3-0.6B", True, "a", None)), settings=settings))
    assert "Solved problems came before it as earlier turns" in card
    assert "````\nWhat is 1+1?\n````\n\n````\nAnswer: 2\n````\n" in card
    assert "earlier turns" not in model_card(facts(Base("Qwen/Qwen3-0.6B", True, "a", None)))


def test_a_base_that_is_not_on_the_hub_has_no_link_and_its_licence_is_left_open(tmp_path: Path):
    card = model_card(facts(Base("my-model", False, None, None)))
    assert not {"license", "base_model"} & written(tmp_path, card).keys()
    assert "`my-model`, which is not known here: look it up" in card


def test_teachers_and_methods_are_named():
    other = SETTINGS | {"score": SETTINGS["score"] | {"teacher": {"model": "/home/me/big"}}}
    assert "another model, `big`" in teacher_of(other)
    none = SETTINGS | {"align": SETTINGS["align"] | {"teacher_context": "none"}}
    assert teacher_of(none) == "There was no teacher."
    assert method_of(SETTINGS) == "rosd"
    odd = SETTINGS | {"align": SETTINGS["align"] | {"mask": "divergence"}}
    assert method_of(odd) == "own settings"


def test_folders_of_this_machine_are_left_out():
    settings = {"a": ["/home/me/x.jsonl"], "b": "~/m", "c": "text /not/a/path", "d": "/x\nline"}
    assert without_folders(settings) == {
        "a": ["x.jsonl"], "b": "m", "c": "text /not/a/path", "d": "/x\nline",
    }  # fmt: skip


def test_a_header_that_is_none_is_empty(tmp_path: Path):
    assert read_header(tmp_path / "README.md") == {}
    assert written(tmp_path, "# no header\n") == {}
    assert written(tmp_path, "---\na: [1\n---\n") == {}
    assert written(tmp_path, "---\njust text\n---\n") == {}


def test_cells_cannot_break_a_table():
    assert table(["a"], [["x|y\nz"]]) == "| a |\n| --- |\n| x\\|y z |\n"


def test_the_dataset_card_has_a_config_per_table_and_a_split_per_iteration(tmp_path: Path):
    files = [
        (Shared("problems", "all", Path("p")), 80, 1_000_000),
        (Shared("rollouts", "i1", Path("r1")), 700, 2_500_000),
        (Shared("rollouts", "i-2", Path("r2")), 300, 2_500_000),
    ]
    card = dataset_card("me/tables", files, "rosd", "pocket")
    head = written(tmp_path, card)
    assert head["size_categories"] == ["1K<n<10K"]  # 80 + 700 + 300 rows
    assert head["configs"] == [
        {
            "config_name": "problems",
            "data_files": [{"split": "problems", "path": "problems/problems.parquet"}],
        },
        {
            "config_name": "rollouts",
            "default": True,
            "data_files": [
                {"split": "i1", "path": "rollouts/i1.parquet"},
                {"split": "i_2", "path": "rollouts/i_2.parquet"},
            ],
        },
    ]
    assert "| `rollouts` | `i1` | 700 | 2.50 MB |" in card
    assert "| `behaviour_logp` | list<float> | nats |" in card
    assert "## scores" not in card


@pytest.mark.parametrize("name", ["bad name", "a/b/c", "-x", "me/x--y"])
def test_a_name_that_the_hub_refuses_is_one_message(name: str):
    with pytest.raises(RosdError, match="is no name on the hub"):
        check_name(name)
