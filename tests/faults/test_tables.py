"""Damaged, stale and foreign tables: the next stage refuses them by name, through its command."""

import random
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rosd_core.errors import RosdError
from rosd_core.tables.hashing import table_hash
from rosd_core.tables.schemas import SCHEMAS
from rosd_core.tables.writer import file_format
from tests.faults.support import rosd
from tests.support import ROOT, SMALL, run_stage, write_params

pytestmark = pytest.mark.stage

SETTINGS = SMALL | {
    "rollout": {"problems": 4, "group_size": 4, "shard_problems": 2},
    "evaluate": {"samples": 1},
    "score": {"lift": "off"},
}
# the table, and the command that reads it next
NEXT = {
    "data/problems.parquet": ("rollout", "i1"),
    "iterations/i1/rollouts.parquet": ("reflect", "i1"),
    "iterations/i1/reflections.parquet": ("align", "i1"),
    "iterations/i1/alignments.parquet": ("score", "i1"),
    "iterations/i1/scores.parquet": ("distill", "i1"),
    "evaluations/base.parquet": ("report",),
}


@pytest.fixture(scope="module")
def scored(tmp_path_factory) -> Path:
    """A project with every table of the first iteration."""
    folder = tmp_path_factory.mktemp("scored")
    write_params(folder, SETTINGS)
    shutil.copytree(ROOT / "models" / "base", folder / "models" / "base")
    run_stage(folder, "prepare")
    for stage in ("rollout", "reflect", "align", "score"):
        run_stage(folder, stage, "i1")
    shutil.copytree(folder / "models" / "base", folder / "models" / "i1")
    for model in ("base", "i1"):
        run_stage(folder, "evaluate", model)
    return folder


@pytest.fixture
def project(scored: Path, tmp_path: Path) -> Path:
    shutil.copytree(scored, tmp_path, dirs_exist_ok=True)
    return tmp_path


def refused(project: Path, args: tuple[str, ...], *parts: str) -> None:
    """The command ends with exit code 1 and one message that has all the parts."""
    result = rosd(project, *args)
    assert result.exit_code == 1, result.output
    message = result.stderr.splitlines()[-1]
    assert message.startswith(f"rosd {args[0]}: ")
    assert all(part in message for part in parts), message


def rewrite(file: Path, change: Callable[[list[dict[str, Any]]], object]) -> None:
    """Change the rows of a table, which still says what it was made from."""
    table = pq.read_table(file)
    rows = table.to_pylist()
    change(rows)
    name = "evaluation" if file.stem == "base" else file.stem
    schema = SCHEMAS[name]
    changed = pa.Table.from_pylist(rows, schema.with_metadata(table.schema.metadata))
    pq.write_table(changed, file, **file_format(name))


def flips(scored: Path, project: Path, name: str, count: int) -> None:
    """One flipped bit after the other: refused, or in no value that the stage reads; then what it
    writes is as before, and whoever reads the value refuses it.
    """
    file, draw = project / name, random.Random(name)
    whole, values = (scored / name).read_bytes(), table_hash(scored / name)
    others = {table: table_hash(scored / table) for table in NEXT if table != name}
    for _ in range(count):
        damaged, at = bytearray(whole), draw.randrange(len(whole))
        damaged[at] ^= 1 << draw.randrange(8)
        file.write_bytes(damaged)
        result = rosd(project, *NEXT[name])
        if result.exit_code == 0 or name not in result.stderr:
            assert "Traceback" not in result.output, (at, result.output)
            assert {table: table_hash(project / table) for table in others} == others, at
            with suppress(RosdError):
                assert table_hash(file) == values, (at, result.output)
            shutil.copytree(scored, project, dirs_exist_ok=True)


@pytest.mark.parametrize("name", NEXT)
def test_a_flipped_bit_is_refused_or_without_effect(scored, project, name):
    flips(scored, project, name, 3)


@pytest.mark.slow
@pytest.mark.parametrize("name", NEXT)
def test_forty_flipped_bits_are_refused_or_without_effect(scored, project, name):
    flips(scored, project, name, 40)


@pytest.mark.parametrize("name", NEXT)
def test_a_truncated_table_is_refused(project, name):
    file = project / name
    file.write_bytes(file.read_bytes()[:-100])
    refused(project, NEXT[name], f"{name}: not a Parquet file, or damaged", "`dvc repro`")


@pytest.mark.parametrize("name", NEXT)
def test_a_table_that_another_program_wrote_is_refused(project, name):
    pq.write_table(pq.read_table(project / name).replace_schema_metadata(None), project / name)
    refused(project, NEXT[name], f"{name}: does not say what it was made from", "again.")


@pytest.mark.parametrize("name", NEXT)
def test_a_row_that_is_there_twice_is_refused(project, name):
    rewrite(project / name, lambda rows: rows.append(rows[0]))
    refused(project, NEXT[name], f"{name}: ", " is there twice")


def other_text(rows):
    rows[0]["response"] += " "


def another_weight(rows):
    rows[0]["weight"] = 0.5


@pytest.mark.parametrize(
    ("changed", "change", "args", "stale"),
    [
        ("rollouts", other_text, ("align", "i1"), "reflections"),
        ("rollouts", other_text, ("score", "i1"), "reflections"),
        ("rollouts", other_text, ("distill", "i1"), "scores"),
        ("alignments", another_weight, ("distill", "i1"), "scores"),
    ],
)
def test_a_table_made_from_another_one_is_refused(project, changed, change, args, stale):
    """As after one stage was run by hand, and the one behind it was not."""
    makes = {"reflections": "reflect", "scores": "score"}[stale]
    rewrite(project / "iterations" / "i1" / f"{changed}.parquet", change)
    refused(
        project, args, f"iterations/i1/{stale}.parquet: made from another iterations/i1/{changed}",
        f"Run `rosd {makes} i1` again",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("section", "values", "args", "name", "part"),
    [
        ("prepare", {"seed": 99}, ("rollout", "i1"), "problems", "prepare.seed"),
        ("rollout", {"top_p": 0.5}, ("reflect", "i1"), "rollouts", "rollout.top_p"),
        ("reflect", {"seed": 99}, ("align", "i1"), "reflections", "reflect.seed"),
        ("align", {"skip_first": 9}, ("score", "i1"), "alignments", "align.skip_first"),
        ("score", {"top_k": 3}, ("distill", "i1"), "scores", "score.top_k"),
        ("evaluate", {"samples": 2}, ("report",), "base", "evaluate.samples = 1, but"),
    ],
)
def test_a_table_of_other_params_is_refused(project, section, values, args, name, part):
    write_params(project, SETTINGS | {section: SETTINGS.get(section, {}) | values})
    refused(project, args, f"{name}.parquet: made with {part}", "again, or put it back")


def test_sizes_of_batches_and_shards_make_no_table_stale(project):
    batches = {"batch_tokens": 999, "shard_problems": 3}
    write_params(project, SETTINGS | {"rollout": SETTINGS["rollout"] | batches})
    assert rosd(project, "align", "i1").exit_code == 0


@pytest.mark.parametrize("args", [("reflect", "i1"), ("score", "i1")])
def test_rollouts_of_other_weights_are_refused(project, args):
    weights = project / "models" / "base" / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    refused(project, args, "rollouts.parquet: made from another models/base ", "`rosd rollout i1`")


def test_another_chat_template_is_refused(project):
    (project / "models" / "base" / "chat_template.jinja").write_text("{{ messages }}")
    refused(project, ("align", "i1"), "made from another models/base/tokenizer")


def test_the_table_of_another_iteration_is_refused(project):
    write_params(project, SETTINGS | {"loop": {"i1": {"start": "base"}, "i2": {"start": "i1"}}})
    shutil.copytree(project / "iterations" / "i1", project / "iterations" / "i2")
    refused(project, ("reflect", "i2"), "i2/rollouts.parquet: is what `rosd rollout i1` writes")


def strange_peer(rows):
    rows[0]["peer_id"] = "nobody/0"


def strange_rollout(rows):
    rows[0]["rollout_id"] = "nobody/0"


def strange_problem(rows):
    rows[0]["problem_id"] = "nobody"


def far_position(rows):
    row = next(row for row in rows if row["positions"])
    row["positions"] = [*row["positions"][:-1], 10_000]


@pytest.mark.parametrize(
    ("name", "change", "part"),
    [
        ("rollouts", strange_problem, "problem_id nobody is not in problems"),
        ("reflections", strange_peer, "peer_id nobody/0 is not in rollouts"),
        ("reflections", strange_rollout, "rollout_id nobody/0 is not in rollouts"),
        ("alignments", far_position, "inside the response"),
        ("scores", far_position, "inside the response"),
    ],
)
def test_ids_and_positions_refer_to_what_exists(project, name, change, part):
    file = f"iterations/i1/{name}.parquet"
    rewrite(project / file, change)
    refused(project, NEXT[file], f"{file}: row ", part)


def test_verify_makes_rows_again(project):
    result = rosd(project, "verify", "i1", "--rows", "3")
    assert result.exit_code == 0, result.output
    assert "rollouts: 3 rows made again, the same" in result.stdout
    assert "scores: 3 rows made again, the same" in result.stdout


def test_verify_names_the_rows_that_differ(project):
    """All rows are made again; one token, one log-probability and one divergence are others."""

    def another_token(rows):
        rows[0]["response_ids"][0] += 1
        rows[1]["student_logp"][0] -= 0.5

    def another_divergence(rows):
        rows[2]["divergence"][0] += 0.25

    folder = project / "iterations" / "i1"
    rewrite(folder / "scores.parquet", another_divergence)
    result = rosd(project, "verify", "i1", "--rows", "99")
    assert (result.exit_code, result.stderr.count(": row ")) == (1, 1)
    assert "divergence differs by up to 0.25" in result.stderr
    (folder / "scores.parquet").unlink()
    rewrite(folder / "rollouts.parquet", another_token)
    result = rosd(project, "verify", "i1", "--rows", "99")
    assert (result.exit_code, result.stderr.count(": row ")) == (1, 2)
    assert "response_ids is another one" in result.stderr
    assert "student_logp differs by up to 0.5" in result.stderr
