"""Sources of problems: layouts, splits without overlap, messages."""

import json
from pathlib import Path

import polars as pl
import pytest

from rosd_core.config.load import load_params
from rosd_core.errors import RosdError
from rosd_core.graders.graders import GRADERS
from rosd_core.graders.procedural import gym_dataset
from rosd_core.tables.io import read_table
from rosd_core.tasks.sources import choose, layout_rows, math_rows, source_rows, table_rows
from tests.support import on_fixtures_and_real_sets, run_stage, write_params


def write_lines(path: Path, *rows: dict) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_gsm8k_math_and_aime_rows(tmp_path):
    gsm = write_lines(tmp_path / "g.jsonl", {"question": "2+3?", "answer": "2+3=5\n#### 5"})
    (row,) = math_rows(gsm, True)
    assert (row["answer"], row["solution"], row["grader"]) == ("5", "2+3=5\n#### 5", "math")
    boxed = write_lines(tmp_path / "m.jsonl", {"problem": "p", "solution": "so \\boxed{x^2}"})
    (row,) = math_rows(boxed, False)
    assert (row["answer"], row["solution"]) == ("x^2", "so \\boxed{x^2}")
    aime = write_lines(tmp_path / "a.jsonl", {"problem": "p", "answer": 204})
    (row,) = math_rows(aime, False)
    assert (row["answer"], row["solution"]) == ("204", None)


def test_a_table_of_your_own(tmp_path):
    columns = {"prompt": "q", "answer": "a", "solution": "s"}
    rows = [{"q": "1+1?", "a": 2, "s": "easy", "extra": 0}, {"q": "2+2?", "a": 4, "s": None}]
    file = write_lines(tmp_path / "own.jsonl", *rows)
    first, second = table_rows(file, columns, "exact")
    assert (first["prompt"], first["answer"], first["solution"]) == ("1+1?", "2", "easy")
    assert second["solution"] is None
    pl.DataFrame(rows).write_parquet(tmp_path / "own.parquet")
    assert table_rows(str(tmp_path / "own.parquet"), columns, "exact") == [first, second]


def test_the_system_message_of_a_domain_goes_before_that_of_its_rows(tmp_path):
    columns = {"prompt": "q", "answer": "a", "system": "s"}
    rows = [{"q": "1+1?", "a": "2", "s": "row"}, {"q": "2+2?", "a": "4", "s": None}]
    file = write_lines(tmp_path / "own.jsonl", *rows)
    table = {"task": "table", "train": 0, "test": 2, "train_file": None, "test_file": file}
    table |= {"columns": columns, "grader": "exact"}
    for system, expected in (("mine", ["mine", "mine"]), ("", [None, None]), (None, ["row", None])):
        write_params(tmp_path, {"prepare": {"domains": {"own": table | {"system": system}}}})
        run_stage(tmp_path, "prepare")
        problems = read_table("problems", tmp_path / "data" / "problems.parquet").sort("prompt")
        assert problems["system"].to_list() == expected


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda t: layout_rows(str(t / "none.jsonl"), "mcq"), "no such file"),
        (lambda t: layout_rows(write_lines(t / "x.xyz", {"a": 1}), "mcq"), "unknown ending"),
        (lambda t: layout_rows(write_lines(t / "x.jsonl", {"a": 1}), "mcq"), "none of the columns"),
        (
            lambda t: layout_rows(
                write_lines(
                    t / "x.jsonl",
                    {"prompt": "a", "answer": "A"},
                    {"prompt": " ", "answer": "B"},
                ),
                "mcq",
            ),
            "row 1: column prompt is empty",
        ),
        (lambda t: table_rows("x", {}, "exakt"), "grader 'exakt' is unknown"),
    ],
)
def test_bad_sources_are_named(tmp_path, make, message):
    with pytest.raises(RosdError, match=message):
        make(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, r"prepare\.domains\.mine: test_file is null; name a file, or set test: 0"),
        ({"test_file": "no.csv"}, r"prepare\.domains\.mine: no\.csv: no such file"),
    ],
)
def test_the_domain_of_a_bad_source_is_named(tmp_path, changes, message):
    source = {"task": "gsm8k", "train_file": None, "test_file": None, "system": None} | changes
    with pytest.raises(RosdError, match=message):
        source_rows("mine", source, "test", 3, 1)


@pytest.mark.parametrize(
    ("name", "config", "message"),
    [
        ("chain_sums", {}, "Did you mean 'chain_sum'"),
        ("countdown", {}, "evaluates the text of an answer"),
        ("chain_sum", {"terms": 3}, "refuses"),
    ],
)
def test_generators_that_are_not_there_or_not_safe(name, config, message):
    pytest.importorskip("reasoning_gym", reason="the extra [gym] is not installed")
    with pytest.raises(RosdError, match=message):
        gym_dataset(name, config, 1, 2)


def test_no_prompt_stands_in_two_splits_and_duplicates_are_counted():
    rows = [{"prompt": p} for p in "abcb"]
    seen: set[str] = set()
    test, duplicates = choose("d", "test", rows, None, 1, seen)
    assert sorted(r["prompt"] for r in test) == ["a", "b", "c"]
    assert duplicates == 1
    train, duplicates = choose("d", "train", [{"prompt": p} for p in "cde"], None, 1, seen)
    assert sorted(r["prompt"] for r in train) == ["d", "e"]
    assert duplicates == 1
    with pytest.raises(RosdError, match="has 2 different problems of split train, 3 are wanted"):
        choose("d", "train", [{"prompt": p} for p in "fg"], 3, 1, seen)


def test_a_sample_of_a_file_is_drawn_by_seed_and_grows():
    rows = [{"prompt": str(n)} for n in range(50)]
    few, _ = choose("d", "train", rows, 5, 1, set())
    more, _ = choose("d", "train", rows, 9, 1, set())
    other, _ = choose("d", "train", rows, 5, 2, set())
    assert more[:5] == few != other
    assert [r["prompt"] for r in few] != ["0", "1", "2", "3", "4"]


def test_reasoning_gym_scores_its_own_entries():
    pytest.importorskip("reasoning_gym", reason="the extra [gym] is not installed")
    source = {"task": "reasoning_gym", "generator": "chain_sum", "config": {"max_terms": 3}}
    rows = list(source_rows("sums", source, "train", 4, 1))
    test = list(source_rows("sums", source, "test", 4, 1))
    assert [r["prompt"] for r in rows] != [r["prompt"] for r in test]
    for row in rows[:4]:
        grade = GRADERS["reasoning_gym"]
        assert grade(f"so <answer>{row['answer']}</answer>", row).reward == 1
        assert grade("<answer>-123456</answer>", row).reward < 0.5
        assert grade("no tags", row).format == "missing"


def domain(kind: str, **more) -> dict:
    return {"task": kind, "train": 6, "test": 3} | more


@on_fixtures_and_real_sets
def test_prepare_on_file_tasks(tmp_path, data):
    def files(name, train="train.jsonl"):
        folder = data / name
        return {"train_file": str(folder / train), "test_file": str(folder / "test.jsonl")}

    biology = files("sciknoweval/biology")
    domains = {
        "biology": domain("sciknoweval", **biology) | {"train": "all", "test": "all"},
        "tools": domain("tooluse", **files("tooluse", "test.jsonl")),
        "gsm8k": domain("gsm8k", **files("gsm8k")),
        "chain": domain("pocket", domain="chain", steps=[3]),
    }
    write_params(tmp_path, {"prepare": {"domains": domains}})
    assert load_params(tmp_path / "params.yaml").prepare.trained() == list(domains)
    run_stage(tmp_path, "prepare")
    problems = read_table("problems", tmp_path / "data" / "problems.parquet")
    assert problems["prompt"].n_unique() == len(problems)
    assert problems["problem_id"].n_unique() == len(problems)
    counts = json.loads((tmp_path / "metrics" / "prepare-all.json").read_text())["biology"]
    for split in ("train", "test"):
        rows = len(Path(biology[f"{split}_file"]).read_text(encoding="utf-8").splitlines())
        assert counts[split] + counts[f"{split}_duplicates"] == rows
    assert set(problems["grader"]) == {"mcq", "tool_use", "math", "answer_line"}


@pytest.mark.stage
@on_fixtures_and_real_sets
def test_rollout_to_align_on_file_tasks_with_a_tiny_random_model(tmp_path, tokenizer, data):
    """A random model solves nothing: every row is kept and says why it is not trained on."""
    from rosd_core.pocket.recipe import build_model

    shape = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    shape |= {"num_key_value_heads": 1, "head_dim": 16, "intermediate_size": 32}
    model = build_model(tokenizer, 0, **shape, max_position_embeddings=16384)
    model.save_pretrained(tmp_path / "models" / "base")
    tokenizer.save_pretrained(tmp_path / "models" / "base")
    biology, tools = data / "sciknoweval" / "biology", data / "tooluse" / "test.jsonl"
    files = {"train_file": str(biology / "train.jsonl"), "test_file": str(biology / "test.jsonl")}
    domains = {
        "biology": domain("sciknoweval", **files),
        "tools": domain("tooluse", train_file=str(tools), test_file=str(tools)),
    }
    changes = {
        "prepare": {"domains": domains},
        "loop": {"i1": {"start": "base"}},
        "rollout": {"problems": 12, "group_size": 2, "max_new_tokens": 24, "batch_tokens": 400},
    }
    changes["rollout"]["max_prompt_tokens"] = 8192  # the tools' descriptions, in a small vocabulary
    write_params(tmp_path, changes)
    run_stage(tmp_path, "prepare")
    for stage in ("rollout", "reflect", "align"):
        run_stage(tmp_path, stage, "i1")
    folder = tmp_path / "iterations" / "i1"
    rollouts = read_table("rollouts", folder / "rollouts.parquet")
    assert len(rollouts) == 24
    assert set(rollouts["answer_format"]) == {"missing"}
    prompt = tokenizer.decode(rollouts["prompt_ids"][0])
    assert "system\n" in prompt or "tools" in rollouts["problem_id"][0]
    alignments = read_table("alignments", folder / "alignments.parquet")
    assert set(alignments["skip_reason"]) == {"no_success"}
    assert alignments["rollout_id"].equals(rollouts["rollout_id"])
