"""The user's base model: set, checked, changed, gone, and never harmed."""

import json
import os
import shutil
import subprocess

import pytest
from typer.testing import CliRunner

from rosd_core.errors import RosdError
from rosd_core.models.pointer import (
    CONTENTS_FILE,
    check_model,
    find_model,
    pointer_file,
    resolve,
)
from rosd_core.tables.hashing import file_hash
from stages.cli import app
from stages.paths import Paths, link_base
from tests.support import ROOT, run_stage


def rosd_base(project, *args):
    done = CliRunner().invoke(app, ["base", *args, "--params", str(project / "params.yaml")])
    return done.exit_code, done.output


@pytest.fixture
def there(tmp_path):
    """A model of the user's."""
    shutil.copytree(ROOT / "models" / "base", tmp_path / "there")
    (tmp_path / "there" / CONTENTS_FILE).unlink(missing_ok=True)
    return tmp_path / "there"


def contents(folder):
    return {file.name: file_hash(file) for file in folder.iterdir()}


def test_a_base_is_set_and_unset_and_no_file_of_either_model_changes(project, there):
    here = project / "models" / "base"
    before = contents(here), contents(there)
    assert resolve(here) == here
    code, output = rosd_base(project, str(there))
    assert (code, str(there) in output) == (0, True)
    assert resolve(here) == there
    assert json.loads((here / CONTENTS_FILE).read_text()) == before[1]
    assert str(there) in rosd_base(project)[1]
    assert rosd_base(project, "--pocket")[0] == 0
    assert resolve(here) == here
    assert (contents(here), contents(there)) == before
    assert "built-in" in rosd_base(project)[1]


def test_a_base_leaves_git_clean(project, there):
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org"]
    shutil.copy(ROOT / ".gitignore", project)
    for args in (["init", "-q"], ["add", ".gitignore", "models"], ["commit", "-q", "-m", "all"]):
        subprocess.run([*git, *args], cwd=project, check=True)
    assert rosd_base(project, str(there))[0] == 0
    status = ["git", "status", "--porcelain", "models"]
    assert subprocess.run(status, cwd=project, check=True, capture_output=True).stdout == b""


@pytest.mark.parametrize("name", ["models/base", "link", "models/i1"])
def test_what_the_project_writes_itself_is_refused_and_stays(project, name):
    (project / "link").symlink_to(project / "models" / "base")
    shutil.copytree(project / "models" / "base", project / "models" / "i1")
    before = contents(project / name)
    code, output = rosd_base(project, str(project / name))
    assert code == 1
    assert ("copy it first" if name == "models/i1" else "`rosd base --pocket`") in output
    assert contents(project / name) == before
    assert not pointer_file(project / "models" / "base").exists()


def test_equal_bytes_with_a_new_time_are_trusted_and_hashed_once(project, there):
    here = project / "models" / "base"
    rosd_base(project, str(there))
    weights, known = there / "model.safetensors", (here / CONTENTS_FILE).read_bytes()
    os.utime(weights, ns=(1, 1))
    assert resolve(here) == there
    assert (here / CONTENTS_FILE).read_bytes() == known
    stamps = json.loads(pointer_file(here).read_text())["stamps"]
    assert stamps["model.safetensors"] == [weights.stat().st_size, 1]


@pytest.mark.parametrize("name", ["model.safetensors", "chat_template.jinja"])
def test_a_changed_file_of_the_same_size_stops_until_the_base_is_set_again(project, there, name):
    here = project / "models" / "base"
    rosd_base(project, str(there))
    data = (there / name).read_bytes()
    changed = data.replace(b"<|im_end|>", b"<|im_End|>")
    (there / name).write_bytes(changed if changed != data else data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(RosdError, match=rf"{name} has changed .* run `rosd base {there}`"):
        resolve(here)
    rosd_base(project, str(there))
    assert resolve(here) == there


def test_files_that_are_new_or_gone_and_a_folder_that_is_gone_stop(project, there):
    here = project / "models" / "base"
    rosd_base(project, str(there))
    (there / "added_tokens.json").write_text("{}")
    with pytest.raises(RosdError, match=r"added_tokens.json is new"):
        resolve(here)
    (there / "added_tokens.json").unlink()
    (there / "generation_config.json").unlink()
    with pytest.raises(RosdError, match=r"generation_config.json is gone"):
        resolve(here)
    shutil.rmtree(there)
    with pytest.raises(RosdError, match=rf"folder {there} is gone; .*NEW_FOLDER"):
        resolve(here)
    assert rosd_base(project, "--pocket")[0] == 0


def test_the_same_model_at_another_place_is_the_same_to_dvc(project, there, tmp_path):
    """DVC sees contents.json, not models/base.json."""
    here, seen = project / "models" / "base", []
    for place in (there, shutil.copytree(there, tmp_path / "moved")):
        rosd_base(project, str(place))
        assert resolve(here) == place
        seen.append(contents(here))
    assert seen[0] == seen[1]


def test_a_linked_project_uses_the_same_base(project, there, tmp_path):
    rosd_base(project, str(there))
    link_base(Paths(project), Paths(tmp_path / "arm"))
    assert Paths(tmp_path / "arm").model_folder("base") == there


def test_bootstrap_does_not_run_while_the_base_is_the_users(project, there):
    rosd_base(project, str(there))
    with pytest.raises(RosdError, match="`rosd base --pocket` first"):
        run_stage(project, "bootstrap")


def test_what_is_no_model_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(RosdError, match="neither a folder here nor a model"):
        find_model("no/such-model", None)
    with pytest.raises(RosdError, match=r"config.json is missing"):
        check_model(tmp_path)
    for name in ("config.json", "tokenizer.json"):
        (tmp_path / name).write_text("{}")
    with pytest.raises(RosdError, match=r"no model\*.safetensors"):
        check_model(tmp_path)
    shards = [f"model-0000{n}-of-00003.safetensors" for n in (1, 2, 3)]
    index = {"weight_map": {"a": shards[0], "b": shards[1], "c": shards[1], "d": shards[2]}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    (tmp_path / shards[0]).touch()
    with pytest.raises(
        RosdError, match=rf"2 of 3 files of weights are missing, such as {shards[1]}"
    ):
        check_model(tmp_path)


def test_a_template_without_a_header_is_refused_when_the_base_is_set(project, there):
    header = "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    template = (there / "chat_template.jinja").read_text()
    assert header in template
    (there / "chat_template.jinja").write_text(template.replace(header, ""))
    code, output = rosd_base(project, str(there))
    assert (code, "add_generation_prompt" in output) == (1, True)
    (there / "chat_template.jinja").unlink()
    code, output = rosd_base(project, str(there))
    assert (code, "has no chat template" in output) == (1, True)
    assert not pointer_file(project / "models" / "base").exists()


def test_the_command_takes_a_model_or_pocket(project, there):
    code, output = rosd_base(project, str(there), "--pocket")
    assert (code, "not both" in output) == (1, True)
    (project / "models" / "base" / "config.json").unlink()
    code, output = rosd_base(project, "--pocket")
    assert (code, "`git checkout -- " in output) == (1, True)
