"""The stages on real files with the real base model, in this process and as the command `rosd`."""

import base64
import gzip
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time

import polars as pl
import pytest

from rosd_core.config.edit import rewrite_method
from rosd_core.config.load import load_params
from rosd_core.errors import RosdError
from rosd_core.tables.hashing import file_hash, table_hash
from rosd_core.tables.io import read_table
from stages import export
from stages.paths import Paths
from tests.support import ROOT, SMALL, run_stage, write_params

pytestmark = pytest.mark.stage

ITERATION = ("rollout", "reflect", "align", "score", "distill")


def rosd(project, *args):
    command = [sys.executable, "-m", "stages.cli", *args]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=project, env=env, capture_output=True, text=True)


def run_all(project):
    run_stage(project, "prepare")
    for stage in ITERATION:
        run_stage(project, stage, "i1")
    for model in ("base", "i1"):
        run_stage(project, "evaluate", model)
    run_stage(project, "report")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A project on which every stage ran once."""
    folder = tmp_path_factory.mktemp("finished")
    write_params(folder, SMALL)
    shutil.copytree(ROOT / "models" / "base", folder / "models" / "base")
    run_all(folder)
    return folder


def test_every_table_reads_and_holds_what_it_should(finished):
    paths = Paths(finished)
    names = ("rollouts", "reflections", "alignments", "scores")
    tables = {n: read_table(n, paths.table(n, "i1")) for n in names}
    rollouts = tables["rollouts"]
    assert len(rollouts) == 6 * 4
    assert rollouts["rollout_id"].n_unique() == 24
    lengths = rollouts.select(
        same=pl.col("response_ids").list.len() == pl.col("behaviour_logp").list.len()
    )
    assert lengths["same"].all()
    # reflections and alignments keep every rollout; scores hold the supervised ones alone
    assert tables["reflections"]["rollout_id"].equals(rollouts["rollout_id"])
    assert tables["alignments"]["rollout_id"].equals(rollouts["rollout_id"])
    supervised = tables["alignments"].filter(pl.col("status") == "supervised")
    assert tables["scores"]["rollout_id"].equals(supervised["rollout_id"])
    wanted = supervised.select(pl.col("positions").list.len().cast(pl.Int32)).to_series()
    for column in ("teacher_logp", "support_ids", "tail_logp", "divergence", "student_entropy"):
        found = tables["scores"][column].list.len().cast(pl.Int32)
        assert (found == wanted).all(), column


def test_the_means_by_kind_of_token_are_those_of_the_table(finished):
    means = json.loads((finished / "metrics" / "score-i1.json").read_text())["tokens"]
    scores = read_table("scores", Paths(finished).table("scores", "i1"))
    tokens = scores.explode("positions", "divergence", "student_entropy")
    parts = {"first": tokens.filter(positions=0)}
    parts |= {kind: tokens.filter(kind=kind) for kind in ("wrong", "correct")}
    assert {name: len(part) > 0 for name, part in parts.items()} == dict.fromkeys(means, True)
    for name, part in parts.items():
        for column, mean in means[name].items():
            assert mean == pytest.approx(part[column].mean(), rel=1e-5)
            assert mean > 0


def test_the_student_did_sample_what_the_table_says(finished):
    scores = read_table("scores", Paths(finished).table("scores", "i1"))
    exploded = scores.select("behaviour_logp", "student_logp").explode("*")
    assert (
        exploded.select((pl.col("behaviour_logp") - pl.col("student_logp")).abs().max()).item()
        < 1e-3
    )


def test_a_temperature_is_no_staleness(project):
    """The first optimizer step is taken on the weights that sampled, whatever they sampled at."""
    changes = {"rollout": SMALL["rollout"] | {"temperature": 0.7, "top_p": 0.9}}
    changes |= {"distill": SMALL["distill"] | {"rows_per_step": 1000}}
    write_params(project, SMALL | changes)
    run_stage(project, "prepare")
    for stage in ITERATION:
        run_stage(project, stage, "i1")
    metrics = json.loads((project / "metrics" / "distill-i1.json").read_text())
    assert metrics["steps"] == 1
    assert metrics["largest_ratio"] == pytest.approx(1, abs=1e-3)
    assert metrics["stale_kl"] == pytest.approx(0, abs=1e-6)
    scores = read_table("scores", Paths(project).table("scores", "i1"))
    logps = scores.select("student_logp", "behaviour_logp").explode("*")
    ratio = (logps["student_logp"] - logps["behaviour_logp"]).exp()
    assert metrics["mean_importance"] == pytest.approx(ratio.clip(upper_bound=2).mean(), abs=1e-5)
    assert abs(metrics["mean_importance"] - 1) > 1e-4  # this one is of the temperature


def block(page: str, name: str):
    """A block of data of report.html."""
    start = page.index(f'id="block-{name}">') + len(f'id="block-{name}">')
    return json.loads(gzip.decompress(base64.b64decode(page[start : page.index("<", start)])))


def test_the_page_holds_every_rollout_with_its_tokens(finished):
    page = (finished / "report.html").read_text(encoding="utf-8")
    index, texts, entries = (block(page, name) for name in ("index", "texts", "tokens-0"))
    paths = Paths(finished)
    rollouts = read_table("rollouts", paths.table("rollouts", "i1"))
    scores = read_table("scores", paths.table("scores", "i1"))
    assert texts["response"] == rollouts["response"].to_list()
    assert index["tokens"] == rollouts["response_ids"].list.len().to_list()
    scored = {row["rollout_id"]: row for row in scores.iter_rows(named=True)}
    for r, rollout in enumerate(rollouts.iter_rows(named=True)):
        row, entry = scored.get(rollout["rollout_id"]), entries[r]
        assert entry["ends"][-1] == len(rollout["response"])  # all characters have one UTF-16 unit
        if row is not None:
            assert entry["at"] == row["positions"]
            assert entry["divergence"] == [round(1000 * d) for d in row["divergence"]]
            assert {len(ids) for ids in entry["teacher_top"]} <= {5}
    assert index["supervised"].count(0) == len(rollouts) - len(scores)


def test_the_page_says_which_tables_are_missing_or_stale(finished, project, capsys):
    for folder in ("data", "iterations", "evaluations", "curves", "metrics"):
        shutil.copytree(finished / folder, project / folder, dirs_exist_ok=True)
    Paths(project).table("scores", "i1").unlink()
    write_params(project, SMALL | {"reflect": {"seed": 99}})
    run_stage(project, "report")
    said = capsys.readouterr().err
    page = (project / "report.html").read_text(encoding="utf-8")
    assert "scores of i1: not there yet" in said
    assert "reflect.seed" in said  # the params that its table was made with were others
    assert "scores of i1: not there yet" in page
    assert str(project) not in page  # it can be sent to others
    outcomes = block(page, "index")["outcomes"]
    assert ["score", "not_yet", "the table that decides it is not there yet"] in outcomes


def test_the_page_leaves_out_tables_of_other_responses(finished, project, capsys):
    """Shorter responses under the same ids: quotes and tokens of the earlier ones do not fit."""
    for folder in ("data", "iterations", "evaluations", "curves", "metrics"):
        shutil.copytree(finished / folder, project / folder, dirs_exist_ok=True)
    write_params(project, SMALL | {"rollout": SMALL["rollout"] | {"max_new_tokens": 4}})
    run_stage(project, "rollout", "i1")
    run_stage(project, "report")
    assert "left out: iterations/i1/reflections.parquet" in capsys.readouterr().err
    page = (project / "report.html").read_text(encoding="utf-8")
    outcomes = block(page, "index")["outcomes"]
    assert [row[:2] for row in outcomes] == [["reflect", "not_yet"]]


def test_results_of_other_settings_are_not_exported(finished, project):
    for folder in ("data", "iterations", "evaluations", "curves", "metrics", "models"):
        shutil.copytree(finished / folder, project / folder, dirs_exist_ok=True)
    write_params(project, SMALL | {"distill": SMALL["distill"] | {"learning_rate": 0.123}})
    with pytest.raises(RosdError, match="models/i1: trained with other values of distill"):
        export.run(load_params(project / "params.yaml"), Paths(project), project / "out", None)
    rewrite_method(write_params(project, SMALL), "sft")
    with pytest.raises(RosdError, match=r"reflections\.parquet: made with reflect\.enabled"):
        export.run(load_params(project / "params.yaml"), Paths(project), project / "out", None)


@pytest.mark.parametrize("name", ["decay", "entropy_or_divergence"])
def test_another_token_weight_runs_distill_alone(finished, project, name):
    for folder in ("data", "iterations"):
        shutil.copytree(finished / folder, project / folder, dirs_exist_ok=True)
    write_params(project, SMALL | {"distill": SMALL["distill"] | {"token_weight": name}})
    run_stage(project, "distill", "i1")
    ours, usual = (
        json.loads((p / "metrics" / "distill-i1.json").read_text()) for p in (project, finished)
    )
    assert ours["supervised_tokens"] == usual["supervised_tokens"]
    assert ours["first_loss"] != pytest.approx(usual["first_loss"], rel=1e-3)


@pytest.mark.parametrize("method", ["grpo-kl", "opsa"])
def test_baselines_run_from_rollouts_on(finished, project, method):
    shutil.copytree(finished / "data", project / "data", dirs_exist_ok=True)
    rollouts = Paths(project).table("rollouts", "i1")
    rollouts.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(Paths(finished).table("rollouts", "i1"), rollouts)
    file = write_params(project, SMALL)
    rewrite_method(file, method)
    for stage in ("reflect", "align", "score", "distill"):
        run_stage(project, stage, "i1")
    scores = read_table("scores", Paths(project).table("scores", "i1"))
    if method == "opsa":
        assert set(scores["status"]) == {"no_teacher"}
        return
    # base is both student and teacher, and both read the same prompt
    assert scores["teacher_prompt_ids"].equals(scores["prompt_ids"])
    gap = scores.select("teacher_logp", "student_logp").explode("*")
    assert (gap["teacher_logp"] - gap["student_logp"]).abs().max() == pytest.approx(0, abs=1e-4)
    assert scores["divergence"].explode().max() == pytest.approx(0, abs=1e-5)


def test_report_wrote_what_dvc_plots_reads(finished):
    accuracy = pl.read_csv(finished / "plots" / "accuracy.csv")
    assert accuracy["iteration"].unique(maintain_order=True).to_list() == ["base", "i1"]
    assert pl.read_csv(finished / "plots" / "loss.csv")["step"].to_list()[0] == 0


def test_two_clean_runs_are_identical(finished, project):
    run_all(project)
    for file in sorted(finished.rglob("*.parquet")):
        name = file.relative_to(finished)
        print(table_hash(file), name)
        assert table_hash(project / name) == table_hash(file)
        assert (project / name).read_bytes() == file.read_bytes()
    for name in ("models/i1/model.safetensors", "optimizers/i1/optimizer.safetensors"):
        print(file_hash(finished / name), name)
        assert file_hash(project / name) == file_hash(finished / name)


def test_shards_and_batches_do_not_change_the_rollouts(finished, project):
    changes = SMALL | {"rollout": SMALL["rollout"] | {"shard_problems": 5, "batch_tokens": 700}}
    write_params(project, changes)
    run_stage(project, "prepare")
    run_stage(project, "rollout", "i1")
    ours, theirs = (
        read_table("rollouts", Paths(p).table("rollouts", "i1")) for p in (project, finished)
    )
    assert ours["response_ids"].equals(theirs["response_ids"])


def test_a_distilled_model_loads_with_transformers_and_answers(finished):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(finished / "models" / "i1")
    tokenizer = AutoTokenizer.from_pretrained(finished / "models" / "i1")
    chat = [{"role": "user", "content": "Start with 37. Add 25. Take away 18."}]
    inputs = tokenizer.apply_chat_template(
        chat, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    output = model.generate(  # pyright: ignore[reportAttributeAccessIssue] (auto class)
        **inputs, max_new_tokens=32, do_sample=False
    )
    reply = tokenizer.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    assert reply.startswith("37+25=")
    assert "\nAnswer: " in reply


def test_the_worked_example_shows_a_quote_an_idea_and_its_tokens(finished):
    command = [sys.executable, ROOT / "examples" / "worked_example.py"]
    done = subprocess.run(command, cwd=finished, capture_output=True, text=True, check=True)
    assert re.search(">>>.+=.+<<<", done.stdout)
    assert "Corrective idea: In " in done.stdout
    assert (
        "| token of the error | student | teacher with the idea | student after i1 |" in done.stdout
    )


def test_bad_input_is_one_message_and_exit_code_one(project):
    cases = [
        (("rollout", "i1"), "data/problems.parquet: no such table"),
        (("rollout", "i7"), "iteration 'i7' is not in params.yaml: loop. There are: i1."),
        (("schema", "rolouts"), "there is no table 'rolouts'"),
        (("loop", "0"), "at least 1"),
    ]
    for args, part in cases:
        result = rosd(project, *args)
        assert (result.returncode, part in result.stderr) == (1, True), result.stderr
        assert "Traceback" not in result.stderr
    run_stage(project, "prepare")
    shutil.rmtree(project / "models")
    result = rosd(project, "rollout", "i1")
    assert result.returncode == 1
    assert "models/base: no model there" in result.stderr
    assert not list(project.glob("iterations/**/*.*"))


def test_a_table_of_another_schema_and_one_without_eligible_rows_stop(finished, project):
    shutil.copytree(finished / "iterations", project / "iterations")
    shutil.copytree(finished / "data", project / "data")
    alignments = project / "iterations" / "i1" / "alignments.parquet"
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(alignments)
    at = table.schema.get_field_index("status")
    skipped = pa.array(["skipped"] * len(table))
    pq.write_table(table.set_column(at, table.schema.field(at), skipped), alignments)
    before = (project / "iterations" / "i1" / "scores.parquet").read_bytes()
    result = rosd(project, "score", "i1")
    assert result.returncode == 1
    assert "alignments.parquet: none of 24 rows is supervised: " in result.stderr
    pq.write_table(table.drop_columns(["positions"]), alignments)
    result = rosd(project, "score", "i1")
    assert result.returncode == 1
    assert "column positions is missing" in result.stderr
    assert (project / "iterations" / "i1" / "scores.parquet").read_bytes() == before


@pytest.mark.parametrize(
    "number",
    [
        signal.SIGINT,
        pytest.param(signal.SIGTERM, marks=pytest.mark.slow),
        pytest.param(signal.SIGKILL, marks=pytest.mark.slow),
    ],
)
def test_a_killed_stage_leaves_nothing_under_its_final_name(project, number):
    changes = SMALL | {"rollout": {"problems": 12, "group_size": 200, "shard_problems": 1}}
    write_params(project, changes)
    run_stage(project, "prepare")
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "stages.cli", "rollout", "i1"]
    with subprocess.Popen(
        command, cwd=project, env=env, stderr=subprocess.PIPE, text=True
    ) as stage:
        assert stage.stderr is not None
        assert "shard 1/12" in stage.stderr.readline()
        stage.send_signal(number)
        stage.wait(30)
    assert stage.returncode != 0
    left = list((project / "iterations" / "i1").iterdir())
    assert [f for f in left if not f.name.endswith(".tmp")] == []


def test_help_is_quick():
    subprocess.run([sys.executable, "-m", "stages.cli", "--help"], cwd=ROOT, capture_output=True)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.monotonic()
    result = subprocess.run(
        [sys.executable, "-m", "stages.cli", "--help"], cwd=ROOT, capture_output=True, text=True
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert "rollout" in result.stdout
    assert cpu < 0.5, (cpu, time.monotonic() - started)
