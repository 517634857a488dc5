"""The pipeline's structure: names, declared params and deps against the code; real DVC."""

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from rosd_core.config.load import load_params
from rosd_core.config.params import Params
from rosd_core.config.study import arms_of, load_study, runs_of
from rosd_core.models.pointer import set_base, unset_base
from rosd_core.tables.schemas import SCHEMAS
from tests.support import ROOT, SMALL, write_params

DVC = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text())["stages"]
STAGES = (
    "prepare",
    "bootstrap",
    "rollout",
    "reflect",
    "align",
    "score",
    "distill",
    "evaluate",
    "report",
)
TABLES = {"prepare": "problems", "rollout": "rollouts", "reflect": "reflections",
          "align": "alignments", "score": "scores", "evaluate": "evaluation"}  # fmt: skip


# they validate params, whose values a stage declares, or word errors
NO_DEPS = {"rosd_core/errors.py", "rosd_core/prompts/sandbox.py"} | {
    f"rosd_core/config/{name}.py"
    for name in (
        "bootstrap",
        "domains",
        "engines",
        "finetune",
        "guards",
        "load",
        "params",
        "prompts",
        "section",
        "track",
        "training",
    )
}


def definition(stage: str) -> dict:
    return DVC[stage].get("do", DVC[stage])


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def imports(path: Path, found: set[str] | None = None) -> set[str]:
    """Project files that a file imports, anywhere in it, and those that they import."""
    found = set() if found is None else found
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.ImportFrom) and node.module:
            modules = [node.module, *(f"{node.module}.{name.name}" for name in node.names)]
            for name in (module.replace(".", "/") + ".py" for module in modules):
                ours = name.startswith(("rosd_core/", "stages/")) and name != "stages/cli.py"
                if ours and name not in found and (ROOT / name).is_file():
                    found.add(name)
                    imports(ROOT / name, found)
    return found


@pytest.mark.parametrize("stage", STAGES)
def test_one_name_everywhere(stage):
    assert (ROOT / "stages" / f"{stage}.py").is_file()
    assert stage in Params.model_fields
    assert definition(stage)["cmd"].startswith(f"rosd {stage}")
    if stage in TABLES:
        assert TABLES[stage] in SCHEMAS


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_reads_only_the_params_it_declares(stage):
    read = {"prompts", "reflect", "rollout"} if stage == "report" else set()  # shown as they are
    files = ["report", "report_page"] if stage == "report" else [stage]
    nodes = [node for name in files for node in ast.walk(tree(ROOT / "stages" / f"{name}.py"))]
    for node in nodes:
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if node.value.id == "params":
                read.add(node.attr)
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == "start_of":
            read.add("loop")
    declared = {name.split(".")[0] for name in definition(stage)["params"]}
    assert read - {"model_dump"} == declared


@pytest.mark.parametrize("stage", ["rollout", "reflect", "score", "evaluate"])
def test_a_stage_reads_only_the_prompts_it_declares(stage):
    """So that an edit of the reflection prompt does not sample again."""
    text = (ROOT / "stages" / f"{stage}.py").read_text()
    (only,) = [
        node
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "only"
    ]
    read = {arg.value for arg in only.args if isinstance(arg, ast.Constant)}
    read |= set(re.findall(r"params\.prompts\.(thinking\.\w+)", text))
    (shown,) = re.findall(r"examples_for\(([^)]*)\)", text)
    read |= {f"examples.{name}" for name in re.findall(r"\w+", shown)}
    declared = [name for name in definition(stage)["params"] if name.startswith("prompts.")]
    assert {name.removeprefix("prompts.") for name in declared} == read


@pytest.mark.parametrize("stage", [*STAGES, "evaluate_base"])
def test_a_stage_declares_the_code_that_it_runs(stage):
    file = f"stages/{stage.removesuffix('_base')}.py"
    code = definition(stage).get("deps", [])
    declared = [d for d in code if d.startswith(("stages/", "rosd_core/"))]
    imported = ({file} | imports(ROOT / file)) - NO_DEPS
    assert not [f for f in imported if not any(covers(d, f) for d in declared)]
    assert not [d for d in declared if not any(covers(d, f) for f in imported)]


def covers(declared: str, file: str) -> bool:
    """Whether a file is the declared one or lies in the declared folder."""
    return file == declared or file.startswith(f"{declared}/")


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_reads_as_the_algorithm(stage):
    """One function, and where shards are worked on by several workers, what each of them opens."""
    body = tree(ROOT / "stages" / f"{stage}.py").body
    functions = [node for node in body if isinstance(node, ast.FunctionDef)]
    assert functions[0].name == "run"
    assert len(functions) == 1 or functions[-1].name == "open_work"
    for function in functions:
        assert function.end_lineno is not None
        assert function.end_lineno - function.lineno <= 40


def test_the_core_does_not_know_the_stages_and_paths():
    for file in (ROOT / "rosd_core").rglob("*.py"):
        assert not any(name.startswith("stages") for name in imports(file)), file


@pytest.mark.stage
def test_align_needs_neither_torch_nor_an_engine():
    code = (
        "import sys, stages.align; "
        "sys.exit(any(m in sys.modules for m in ('torch', 'transformers', 'rosd_core.sampling')))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_an_edit_of_a_loss_runs_distill_alone_and_of_the_head_score_too():
    """And what follows from their outputs."""

    def readers(file: str) -> set[str]:
        return {s for s in STAGES if any(covers(d, file) for d in definition(s).get("deps", []))}

    assert readers("rosd_core/losses/token_losses.py") == {"distill"}
    assert readers("rosd_core/losses/divergence.py") == {"score", "distill"}


def test_every_study_that_is_shipped_is_a_stage_with_arms():
    stage = YAML(typ="safe").load((ROOT / "study" / "dvc.yaml").read_text())["stages"]["study"]
    files = {f.stem for f in (ROOT / "study").glob("*.yaml")} - {"dvc"}
    assert set(stage["foreach"]) == files
    params = load_params(ROOT / "params.yaml")
    for name in files:
        study = load_study(ROOT / "study" / f"{name}.yaml")
        assert len(runs_of(study, params)) == len(study.seeds) * len(arms_of(study))


@pytest.mark.parametrize(
    ("key", "first"),
    [
        ("reflect.peer", "reflect"),
        ("reflect.no_success", "reflect"),
        ("align.teacher_context", "align"),
        ("align.no_peer", "align"),
        ("align.mask", "align"),
        ("align.weight", "align"),
        ("score.contrast", "score"),
        ("score.idea_check", "score"),
        ("score.row_lift", "score"),
        ("prompts.with_critique", "score"),
        ("distill.token_weight", "distill"),
        ("distill.loss", "distill"),
    ],
)
def test_what_goes_beyond_rosd_runs_on_stored_rollouts(key, first):
    """The first stage of an iteration that a change of the key re-runs."""
    order = ("rollout", "reflect", "align", "score", "distill")
    readers = [s for s in order if any(covers_key(p, key) for p in definition(s)["params"])]
    assert readers[0] == first


def covers_key(declared: str, key: str) -> bool:
    return key == declared or key.startswith(f"{declared}.")


AS_MODULES = [
    stage if stage in ("align", "rollout") else pytest.param(stage, marks=pytest.mark.slow)
    for stage in (*STAGES, "study")
]


@pytest.mark.stage
@pytest.mark.parametrize("stage", AS_MODULES)
def test_every_stage_runs_as_a_module(stage):
    command = [sys.executable, "-m", f"stages.{stage}", "--help"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert "Usage: rosd" in done.stdout, done.stderr


def dvc(project, *args):
    bin_folder = str(Path(sys.executable).parent)
    env = os.environ | {
        "PATH": bin_folder + os.pathsep + os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
    }
    result = subprocess.run(
        [sys.executable, "-m", "dvc", *args], cwd=project, env=env, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def would_run(project) -> list[str]:
    """Stages that would run: those that changed, and with --force-downstream what follows them.

    Plain --dry names the first kind only, because it does not know what the outputs would be.
    """
    lines = dvc(project, "repro", "--dry", "--force-downstream").splitlines()
    return [line.split("'")[1] for line in lines if line.startswith("Running stage")]


def make_pipeline(folder):
    """A small project under real DVC, without git."""
    write_params(folder, SMALL)
    for name in ("stages", "rosd_core"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("models/base", "optimizers/base"):
        shutil.copytree(ROOT / name, folder / name)
    shutil.copy(ROOT / "dvc.yaml", folder)
    shutil.copy(ROOT / ".dvcignore", folder)
    (folder / "metrics").mkdir()
    shutil.copy(ROOT / "metrics" / "bootstrap-base.json", folder / "metrics")
    dvc(folder, "init", "--no-scm", "-q")


@pytest.mark.stage
def test_dvc_runs_what_changed_and_nothing_else(tmp_path):
    """The whole pipeline under real DVC; then what a change would run again."""
    make_pipeline(tmp_path)
    dvc(tmp_path, "repro")
    assert would_run(tmp_path) == []

    def changed(**sections):
        merged = {k: SMALL.get(k, {}) | sections.get(k, {}) for k in SMALL | sections}
        write_params(tmp_path, merged)
        return set(would_run(tmp_path))

    after_distill = {"distill@i1", "evaluate@i1", "report"}
    assert changed(distill={"learning_rate": 2e-4}) == after_distill
    assert changed(score={"top_k": 8}) == {"score@i1"} | after_distill
    reflect = changed(reflect={"seed": 2})
    assert {"reflect@i1", "align@i1", "score@i1"} | after_distill == reflect
    assert changed(evaluate={"samples": 3}) == {"evaluate_base", "evaluate@i1", "report"}
    two = {"i1": {"start": "base"}, "i2": {"start": "i1"}}
    new = {f"{s}@i2" for s in ("rollout", "reflect", "align", "score", "distill", "evaluate")}
    assert changed(loop=two) == new | {"report"}
    assert changed(guards={"action": "warn"}) == set()  # no table depends on a bound
    assert changed() == set()
    from_base = {f"{s}@i1" for s in ("rollout", "reflect", "align", "score", "distill", "evaluate")}
    set_base(tmp_path / "models" / "base", "there", None, ROOT / "models" / "base")
    assert set(would_run(tmp_path)) - {"bootstrap"} == from_base | {"evaluate_base", "report"}
    unset_base(tmp_path / "models" / "base")
    assert changed() == set()
    head, summary = dvc(tmp_path, "metrics", "show").splitlines()
    assert head.split()[:2] == ["Path", "accuracy.chain"]
    assert summary.startswith("metrics/summary-all.json")
