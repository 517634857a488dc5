"""dvc.lock as DVC itself would write it, with the params that DVC itself would read."""

import re
from pathlib import Path

import pytest
from dvc.cli import main
from dvc.dependency import param
from dvc.utils.serialize import dumps_yaml, loads_yaml
from dvc_objects.fs.local import LocalFileSystem
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.quick_dvc import HEAD, exact_yaml, quick_dvc, with_entry
from tests.support import ROOT

SHIPPED = (ROOT / "dvc.lock").read_text(encoding="utf-8")
ENTRIES = re.findall(r"^  \S.*\n(?:   .*\n)+", SHIPPED, re.MULTILINE)


def test_the_shipped_file_is_made_of_its_entries():
    assert HEAD + "".join(ENTRIES) == SHIPPED
    assert len(ENTRIES) == 22


@given(st.integers(0, len(ENTRIES) - 1))
def test_an_entry_replaces_its_older_one_alone(number):
    entry = ENTRIES[number]
    assert with_entry(SHIPPED, entry) == SHIPPED
    name, rest = entry.split("\n", 1)
    other = f"{name}\n    cmd: another\n"
    assert with_entry(SHIPPED, other) == SHIPPED.replace(entry, other)
    assert with_entry(SHIPPED, f"  new@i1:\n{rest}") == f"{SHIPPED}  new@i1:\n{rest}"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "stages:\n  a:\n    cmd: x\n",
        HEAD,
        SHIPPED + "datasets:\n- name: x\n",
        SHIPPED.replace("  report:", "<<<<<<< HEAD\n  report:"),
        HEAD + "# by hand\n  a:\n    cmd: x\n",
    ],
)
def test_other_texts_are_left_to_dvc(text):
    assert with_entry(text, ENTRIES[0]) is None


LATEX = "x'\n" + "a" * 40 + " " + "b" * 30 + " \\(4.4 \\, z"
SPACES = "it's " + "a" * 60 + " breakfast.  How many eggs " + "b" * 30


@pytest.mark.parametrize("text", [LATEX, SPACES])
def test_a_text_that_ruamel_breaks_wrongly_stays_on_its_line(text):
    """Both are read back as another text, of which DVC would say for ever that it is modified."""
    data = {"k": text}
    assert loads_yaml(dumps_yaml(data)) != data
    assert loads_yaml(exact_yaml(data)) == data


@settings(max_examples=500, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            ["  ", " ", "\n", "\t", "\u2028", "é", "\\", "'", '"', ":", "word", "longer-word", "#"]
        )
    )
)
def test_every_text_is_read_back_as_it_is(pieces):
    data = {"k": "w" * 45 + " " + "".join(pieces)}
    text = exact_yaml(data)
    assert loads_yaml(text) == data
    assert text == dumps_yaml(data) or loads_yaml(dumps_yaml(data)) != data


@pytest.mark.stage
def test_the_file_is_that_of_dvc(tmp_path, monkeypatch):
    """A pipeline that grows and changes, run both ways; in the second there is a stage with a long
    command over lines, floats, nulls and a name with a key.
    """

    def run(folder: Path, quick: bool) -> list[bytes]:
        folder.mkdir()
        monkeypatch.chdir(folder)
        assert main(["init", "--no-scm", "-q"]) == 0
        found = []
        for text, params in ((TWO, "a: 1.0e-05\nb: [x, null]\n"), (MORE, "a: .5\nb: {c: ''}\n")):
            Path("dvc.yaml").write_text(text)
            Path("params.yaml").write_text(params)
            if quick:
                with quick_dvc():
                    assert main(["repro", "-q"]) == 0
            else:
                assert main(["repro", "-q"]) == 0
            found.append(Path("dvc.lock").read_bytes())
        return found

    ours = run(tmp_path / "quick", True)
    assert ours == run(tmp_path / "dvc", False)
    assert ours[0] != ours[1]


def test_params_are_read_again_when_they_change_and_each_reader_has_its_own(tmp_path):
    file = tmp_path / "params.yaml"
    file.write_text("a: {b: [1, 2]}\nc: 1\n")
    with quick_dvc():

        def read():
            return param.read_param_file(LocalFileSystem(), str(file))

        first = read()
        first["a"]["b"].append(3)
        assert read() == {"a": {"b": [1, 2]}, "c": 1}
        file.write_text("a: {b: [1, 2]}\nc: 2\n")
        assert read()["c"] == 2


TWO = """
stages:
  one:
    cmd: echo 1 > one
    params: [a, b]
    outs: [one]
  two:
    cmd: cat one > two
    deps: [one]
    params: [a]
    outs: [two]
"""
MORE = """
stages:
  two:
    cmd: |
      cat one > two

      echo "a: b  #" >> two
    deps: [one]
    params: [a]
    outs: [two]
  each:
    foreach: [x, y]
    do:
      cmd:
        - "true"
        - touch each-${item}
      outs:
        - each-${item}
  one:
    cmd: >-
      echo 1 > one; echo with many words, so that a line of the file is too long and has to be
      broken somewhere
    params: [a, b]
    outs: [one]
"""
