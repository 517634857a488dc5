"""`rosd init` as a command, on the built-in model and data of our own."""

import json

import pytest
from dvc.config import Config
from ruamel.yaml import YAML
from typer.testing import CliRunner

from rosd_core.config.load import load_params
from rosd_core.models.pointer import resolve
from rosd_core.pocket.world import make_problem
from rosd_core.tables.io import read_table
from stages.cli import app
from stages.paths import Paths
from tests.support import ROOT, run_stage

MODEL = str(ROOT / "models" / "base")


@pytest.fixture
def data(tmp_path):
    """Problems of the pocket world in a file with odd column names."""
    problems = [make_problem(7, "chain", "init", n) for n in range(60)]
    rows = [{"puzzle": p.prompt, "final": p.answer, "how": p.solution} for p in problems]
    file = tmp_path / "odd names.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def init(folder, data, *more):
    names = "prompt=puzzle,answer=final,solution=how"
    args = ["init", str(folder), "--model", MODEL, "--train", str(data), "--columns", names]
    done = CliRunner().invoke(app, [*args, "--max-new-tokens", "24", *more])
    return done.exit_code, done.output


def test_a_project_is_written_and_every_value_is_explained(tmp_path, data):
    folder = tmp_path / "mine"
    code, said = init(folder, data, "--shots", "0", "--method", "sdpo")
    assert code == 0, said
    params = load_params(folder / "params.yaml")
    assert params.bootstrap is None
    (name,) = params.prepare.domains
    assert name == "odd_names"
    assert params.prepare.domains[name].test in range(8, 13)  # at most a fifth of 60
    assert params.align.teacher_context == "peer"  # of sdpo
    assert params.rollout.max_new_tokens == 24
    head = (folder / "params.yaml").read_text().split("\n#\n")[0]
    for key in ("rollout.problems", "reflect.contract", "distill.rows_per_step"):
        assert f"{key} = " in said
        assert f"#   {key} = " in head
    assert init(folder, data, "--shots", "0")[0] == 0  # again, in place
    again = (folder / "params.yaml").read_text()
    assert again.count("Written by `rosd init`") == 1
    assert load_params(folder / "params.yaml").align.teacher_context == "idea"
    assert resolve(Paths(folder).model("base")) == ROOT / "models" / "base"
    pipeline = YAML(typ="safe").load((folder / "dvc.yaml").read_text())
    assert "bootstrap" not in pipeline["stages"]
    code_deps = [d for d in pipeline["stages"]["prepare"]["deps"] if d.endswith(".py")]
    assert code_deps and all((folder / dep).is_file() for dep in code_deps)
    page = Config(folder / ".dvc", validate=True)["plots"]["html_template"]
    assert (folder / ".dvc" / page).resolve() == ROOT / "rosd_core/report/vendor/plots.html"
    for plot in pipeline["plots"]:
        (template,) = (p["template"] for p in plot.values())
        assert (folder / ".dvc" / "plots" / f"{template}.json").is_file()


@pytest.mark.stage
def test_the_loop_runs_on_it(tmp_path, data):
    folder = tmp_path / "mine"
    code, said = init(folder, data, "--iterations", "1", "--minutes", "0.2", "--shots", "0")
    assert code == 0, said
    run_stage(folder, "prepare")
    problems = read_table("problems", folder / "data" / "problems.parquet")
    counts = dict(problems["split"].value_counts().iter_rows())
    assert counts["train"] + counts["test"] == 60
    run_stage(folder, "rollout", "i1")
    run_stage(folder, "reflect", "i1")
    metrics = json.loads((folder / "metrics" / "reflect-i1.json").read_text())
    assert metrics["reflections"] == 0 or metrics["readable_share"] == 1.0  # forced


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--method", "rosdd"], "--method 'rosdd'; there are: rosd,"),
        (["--device", "tpu"], "--device 'tpu'; there are: cpu, cuda"),
        (["--grader", "maths"], "--grader 'maths' is unknown"),
        (["--columns", "prompt"], "write NAME=COLUMN"),
        (["--columns", "prompt=nothing"], "there is no such column; there are: puzzle, final, how"),
        (["--test", "nowhere.jsonl"], "no such file (--test)"),
    ],
)
def test_a_mistake_is_one_message_and_nothing_is_written(tmp_path, data, more, message):
    code, said = init(tmp_path / "mine", data, *more)
    assert code == 1
    assert message in " ".join(said.split())
    assert not (tmp_path / "mine" / "params.yaml").exists()
