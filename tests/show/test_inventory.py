"""`rosd tables`, by hand."""

import polars as pl
import pytest

from rosd_core.show.inventory import contents, size
from tests.show.support import reflection, rollouts, write_project
from tests.support import SMALL, command, run_stage, write_params


@pytest.mark.parametrize(
    ("table", "columns", "text"),
    [
        ("problems", {"split": ["train", "test", "train"]}, "2 train, 1 test"),
        (
            "rollouts",
            {"success": [True, False, False], "finish_reason": ["stop", "length", "stop"]},
            "1 correct (33.3 %), 1 cut off",
        ),
        ("evaluation", {"success": [True, True]}, "2 correct (100.0 %)"),
        (
            "reflections",
            {
                "status": ["ok", "skipped", "no_idea", "ok", "skipped", "skipped"],
                "skip_reason": [None, "disabled", None, None, "no_success", "no_success"],
            },
            "2 ok, 1 no_idea; skipped: 2 no_success, 1 disabled",
        ),
        ("alignments", {"status": ["skipped"], "skip_reason": ["wrong"]}, "skipped: 1 wrong"),
        ("scores", {"status": ["too_long", "scored", "scored"]}, "2 scored, 1 too_long"),
    ],
)
def test_contents(table, columns, text):
    assert contents(table, pl.DataFrame(columns)) == text


def test_sizes():
    counts = (0, 999, 1000, 38_249, 1_400_000, 2 * 10**9, 3 * 10**15)
    texts = ["0 B", "999 B", "1.0 kB", "38.2 kB", "1.4 MB", "2.0 GB", "3000.0 TB"]
    assert [size(count) for count in counts] == texts


def lines(project) -> list[list[str]]:
    code, said = command(project, "tables")
    assert code == 0
    return [line.split() for line in said.splitlines()]


def test_what_is_missing_stale_or_damaged(project, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    run_stage(project, "prepare")
    seen = lines(project)
    # 12 train problems of one domain, 3 test problems of each of the five
    assert ["data", "problems", "27"] in [line[:3] for line in seen]
    assert ["15", "test,", "12", "train"] in [line[-4:] for line in seen]
    assert ["base", "evaluation", "missing:", "`rosd", "evaluate", "base`"] in seen
    assert ["scores", "missing:", "`rosd", "score", "i1`"] in seen
    prepare = SMALL["prepare"] | {"seed": 21}
    write_params(project, SMALL | {"prepare": prepare})
    assert "made with another prepare.seed" in " ".join(map(" ".join, lines(project)))
    write_project(project, rollouts=rollouts(), reflections=[reflection()])
    file = project / "iterations" / "i1" / "rollouts.parquet"
    file.write_bytes(file.read_bytes()[:-5])
    text = " ".join(map(" ".join, lines(project)))
    assert "not a Parquet file, or damaged" in text
    assert "does not say what it was made from" in text  # the tables by hand
