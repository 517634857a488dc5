"""The example scripts on tables that are made by hand, with the columns that they read."""

import math
import shutil

import polars as pl
import pytest

from examples.what_changed import changed
from examples.which_tokens import largest
from tests.support import ROOT


def write(folder, **tables):
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in tables.items():
        pl.DataFrame(rows, infer_schema_length=None).write_parquet(folder / f"{name}.parquet")


def test_why_lost_counts_every_wrong_response_once(tmp_path, capsys):
    pytest.importorskip("duckdb")
    from examples.why_lost import main

    names = ["rollout_id", "success", "reflected", "why", "aligned", "skipped", "scored"]
    rows = [
        ("a", True, "ok", None, "supervised", None, "scored"),  # correct: not counted
        ("b", False, "skipped", "no_success", "skipped", "no_success", None),
        ("c", False, "no_idea", None, "skipped", "no_idea", None),
        ("d", False, "truncated", None, "skipped", "truncated", None),
        ("e", False, "truncated", None, "skipped", "truncated", None),
        ("f", False, "ok", None, "skipped", "quote_not_found", None),
        ("g", False, "ok", None, "skipped", "no_token", None),
        ("h", False, "ok", None, "supervised", None, "too_long"),
        ("i", False, "ok", None, "supervised", None, "scored"),
    ]
    wide = pl.DataFrame(rows, schema=names, orient="row", infer_schema_length=None)
    write(
        tmp_path / "iterations" / "i1",
        rollouts=wide.select("rollout_id", "success"),
        reflections=wide.select("rollout_id", status="reflected", skip_reason="why"),
        alignments=wide.select("rollout_id", status="aligned", skip_reason="skipped"),
        scores=wide.drop_nulls("scored").select("rollout_id", status="scored"),
    )
    main("i1", tmp_path)
    # 9 rollouts, 8 wrong; less b: 7; less c, d, e: 4; less f: 3; less g: 2; less h: 1
    assert [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()] == [
        "rollouts 9",
        "wrong 8",
        "reflected on 7 lost: 1 no_success",
        "readable 4 lost: 2 truncated, 1 no_idea",
        "quote found 3 lost: 1 quote_not_found",
        "supervised 2 lost: 1 no_token",
        "trained on 1 lost: 1 too_long",
    ]


def scores():
    """Two rows; the teacher's likeliest id is 7 at both places of the first."""
    return {
        "rollout_id": ["p/0", "p/1", "q/0"],
        "problem_id": ["p", "p", "q"],
        "kind": ["wrong"] * 3,
        "status": ["scored", "scored", "too_long"],
        "response_ids": [[3, 5, 6], [3, 5], [9]],
        "positions": [[1, 2], [1], []],
        "student_logp": [[math.log(0.5), math.log(0.9)], [math.log(0.5)], []],
        "teacher_logp": [[math.log(0.25), math.log(0.9)], [math.log(0.25)], []],
        "divergence": [[0.3, 0.1], [0.2], []],
        "support_ids": [[[5, 7], [6, 7]], [[5, 7]], []],
        "support_logp": [
            [[math.log(0.25), math.log(0.75)], [math.log(0.9), math.log(0.1)]],
            [[math.log(0.25), math.log(0.75)]],
            [],
        ],
    }


def test_which_tokens_has_each_place_once_and_the_teachers_likeliest_id():
    found = largest(pl.DataFrame(scores()).lazy(), 5)
    # p/1 has the same token at the same place of the same problem as p/0, with less divergence
    assert found.select("rollout_id", "positions", "sampled", "preferred").rows() == [
        ("p/0", 1, 5, 7),
        ("p/0", 2, 6, 6),
    ]
    assert found["student"].to_list() == pytest.approx([0.5, 0.9])
    assert found["teacher"].to_list() == pytest.approx([0.25, 0.9])
    assert found["preferred_share"].to_list() == pytest.approx([0.75, 0.9])
    assert largest(pl.DataFrame(scores()).lazy(), 1)["divergence"].to_list() == [0.3]


def test_which_tokens_prints_text_that_cannot_steer_the_terminal(tmp_path, capsys, tokenizer):
    from examples.which_tokens import main

    escape = tokenizer("\x1b", add_special_tokens=False)["input_ids"][0]
    write(tmp_path / "iterations" / "i1", scores=scores() | {"response_ids": [[3, escape, 6]] * 3})
    shutil.copytree(ROOT / "models" / "base", tmp_path / "models" / "base")
    main("i1", 1, tmp_path)
    printed = capsys.readouterr().out
    assert "\x1b" not in printed
    assert "'\\x1b'" in printed
    assert "50.0%    25.0%" in printed


def test_what_changed_needs_both_iterations_and_a_rise(tmp_path, capsys):
    from examples.what_changed import main

    before = pl.DataFrame(
        {"problem_id": [*"aabbccd"], "success": [False, False, True, False, True, True, False]}
    )
    after = pl.DataFrame({"problem_id": [*"aabbcce"], "success": [True] * 4 + [False, True, True]})
    reflections = pl.DataFrame(
        {
            "problem_id": [*"aaabc"],
            "kind": ["wrong"] * 4 + ["correct"],
            "status": ["ok", "ok", "ok", "no_idea", "ok"],
            "idea": ["Carry.", "Borrow.", "Borrow.", None, "It is right."],
        }
    )
    # a: 0 -> 1, b: 1/2 -> 1, c: 1 -> 1/2; d and e are in one iteration each
    rose, both = changed(before, after, reflections)
    assert both == 3
    assert rose.rows() == [("a", 0.0, 1.0, "Borrow."), ("b", 0.5, 1.0, None)]
    write(tmp_path / "iterations" / "i1", rollouts=before, reflections=reflections)
    write(tmp_path / "iterations" / "i2", rollouts=after)
    write(tmp_path / "data", problems={"problem_id": [*"ab"], "prompt": ["Add 1.", "Add\x1b 2."]})
    main("i1", "i2", tmp_path)
    assert capsys.readouterr().out.splitlines() == [
        "3 problems are in i1 and i2; 2 of them rose.",
        "",
        "  0% -> 100%  Add 1.",
        "    idea: Borrow.",
        " 50% -> 100%  Add\\x1b 2.",
        "    idea: none",
    ]


@pytest.mark.parametrize("name", ["why_lost", "which_tokens", "what_changed"])
def test_without_tables_they_say_what_to_run(name, tmp_path):
    from importlib import import_module

    if name == "why_lost":
        pytest.importorskip("duckdb")
    with pytest.raises(SystemExit, match=r"no such file; run `dvc repro` first"):
        import_module(f"examples.{name}").main(project=tmp_path)
