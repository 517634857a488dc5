"""What prepare refuses, through the real command: it would end rollout later."""

import json

import pytest
from typer.testing import CliRunner

from stages.cli import app
from tests.support import write_params

CALL = {"Action": "add", "Action_Input": "no JSON"}
COLUMNS = {"prompt": "question", "answer": "answer"}


def prepare(folder, rows, monkeypatch, **domain):
    """Exit code and message of `rosd prepare --params FOLDER/params.yaml`, run elsewhere."""
    (folder / "mine.jsonl").write_text("\n".join(json.dumps(row) for row in rows) + "\n")
    entry = {"train": "all", "test": 0, "train_file": "mine.jsonl", "test_file": None} | domain
    file = write_params(folder, {"prepare": {"domains": {"mine": entry}}})
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    result = CliRunner().invoke(app, ["prepare", "--params", str(file)])
    return result.exit_code, " ".join(result.output.split())


def table(grader):
    return {"task": "table", "columns": COLUMNS, "grader": grader}


@pytest.mark.parametrize(
    ("domain", "answer", "message"),
    [
        ({"task": "gsm8k"}, "2+3=5", "'2+3=5' has no final answer, neither after ####"),
        ({"task": "gsm8k"}, "2+3=5\n#### ", "the answer '' is empty"),
        (table("math"), "{5", "the answer '{5' does not fit into a box"),
        (table("math"), "It is $5.\nA: 5", "has several lines and no box: it looks like a worked"),
        (table("last_number"), "five", "the answer 'five' is no number"),
        (table("last_number"), "1/0", "the answer '1/0' is no number"),
        (table("mcq"), "A or B", "the answer 'A or B' is no capital letter"),
        (table("answer_line"), "5\n6", "has several lines"),
        (table("tool_use"), "5", "is no JSON list of"),
        (table("tool_use"), "[]", "is no JSON list of"),
        (table("tool_use"), json.dumps([CALL]), "has an Action_Input of add that is no JSON"),
        (table("reasoning_gym"), "5", "is the grader of task reasoning_gym alone"),
    ],
)
def test_gold_answers_that_their_grader_cannot_read(tmp_path, monkeypatch, domain, answer, message):
    good = {
        "mcq": "A",
        "tool_use": json.dumps([CALL | {"Action_Input": "{}"}]),
        "reasoning_gym": answer,
    }.get(domain.get("grader", ""), "#### 5" if domain["task"] == "gsm8k" else "5")
    rows = [{"question": "a", "answer": good}, {"question": "b", "answer": answer}]
    code, output = prepare(tmp_path, rows, monkeypatch, **domain)
    row = 0 if good == answer else 1
    assert code == 1
    assert f"mine.jsonl: row {row}: " in output.replace("mine. jsonl", "mine.jsonl")
    assert message in output
    assert not (tmp_path / "data" / "problems.parquet").exists()


@pytest.mark.parametrize("prompt", [{"role": "user"}, ["a", "b"]])
def test_objects_as_prompts(tmp_path, monkeypatch, prompt):
    rows = [{"question": prompt, "answer": "5"}]
    code, output = prepare(tmp_path, rows, monkeypatch, **table("exact"))
    assert code == 1 and "column question holds" in output and "not text" in output


def test_files_are_found_from_the_folder_of_params_yaml(tmp_path, monkeypatch):
    rows = [{"question": "a", "answer": "5"}]
    code, output = prepare(tmp_path, rows, monkeypatch, **table("exact"))
    assert code == 0, output
    assert (tmp_path / "data" / "problems.parquet").exists()
