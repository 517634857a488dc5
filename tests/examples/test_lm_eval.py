"""examples/lm_eval/export.py: the task by hand, and lm-eval itself on the pocket model, where it is
installed (`pip install -e '.[lm-eval]'`, in an environment of its own).
"""

import json
import os
import re
import shlex
import subprocess
import sys

import polars as pl
import pytest

from examples.lm_eval.export import PATTERNS, main, problems_of, task
from rosd_core.errors import RosdError
from rosd_core.graders.graders import GRADERS
from stages.paths import Paths
from tests.support import ROOT, SMALL, run_stage, write_params

RESPONSES = [
    "1+1=2\nAnswer: 2",
    "Answer: 3\nNo.\nAnswer:  2 \n",
    "Answer: 2\nAnswer: 3",
    "2",
    " 2\n",
    "Answer:",
    "Answer: 2 apples",
    "<answer>B</answer>",
    "<answer>A</answer> or <answer> B",
    "<answer>B</answer> or <answer>A</answer>",
]


@pytest.mark.parametrize("grader", PATTERNS)
def test_a_pattern_finds_the_answer_that_the_grader_finds(grader):
    """As lm-eval applies it: the last match, stripped, equals the gold answer."""
    verdicts = []
    for response in RESPONSES:
        for answer in ("2", "B"):
            found = re.findall(PATTERNS[grader], response)
            right = bool(found) and found[-1].strip() == answer
            verdict = GRADERS[grader](response, {"answer": answer})
            assert right == verdict.success, (response, answer)
            verdicts.append(right)
    assert any(verdicts)


def test_problems_are_of_one_grader_and_one_domain():
    table = pl.DataFrame(
        {
            "domain": ["a", "b", "c", "a"],
            "split": ["test", "test", "test", "train"],
            "grader": ["exact", "mcq", "math", "exact"],
        }
    )
    assert len(problems_of(table, "a")) == 1
    with pytest.raises(RosdError, match="the graders exact, mcq, math; a task needs one of"):
        problems_of(table, None)
    with pytest.raises(RosdError, match="no test problem of domain d; there are: a, b, c"):
        problems_of(table, "d")
    with pytest.raises(RosdError, match="the graders math; a task"):
        problems_of(table, "c")


def test_the_task_decodes_greedily_and_as_long_as_evaluate(tmp_path):
    made = task(tmp_path, "exact", 17)
    assert made["generation_kwargs"] == {"until": [], "do_sample": False, "max_gen_toks": 17}
    assert made["dataset_kwargs"]["data_files"]["test"] == str(tmp_path / "problems.jsonl")


@pytest.mark.slow
def test_lm_eval_gives_our_answers_and_our_verdicts(project, capsys):
    pytest.importorskip("lm_eval")
    domains = {n: d | {"test": 24} for n, d in SMALL["prepare"]["domains"].items()}
    greedy = {"samples": 1, "temperature": 0.0}
    write_params(project, SMALL | {"prepare": {"domains": domains}, "evaluate": greedy})
    run_stage(project, "prepare")
    run_stage(project, "evaluate", "base")
    main("base", None, project / "lm_eval", project / "params.yaml")
    command = shlex.split(capsys.readouterr().out)
    assert command[0] == "lm_eval"
    env = os.environ | {
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_CACHE": str(project / "cache"),
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=project, env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    (file,) = (project / "lm_eval" / "results").rglob("samples_rosd_*.jsonl")
    theirs = [json.loads(line) for line in file.read_text().splitlines()]
    found = {s["doc"]["problem_id"]: (s["resps"][0][0], bool(s["exact_match"])) for s in theirs}
    rows = pl.read_parquet(Paths(project).evaluation("base"))
    ours = {r["problem_id"]: (r["response"], r["success"]) for r in rows.iter_rows(named=True)}
    assert len(ours) == 24 * len(domains)
    assert found == ours
    assert 0 < rows["success"].sum() < len(rows)
