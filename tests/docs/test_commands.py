"""Commands in the documentation exist, with the options that they are given."""

import re
from typing import Any

import pytest
import typer

from stages.cli import app
from tests.docs.pages import PAGES, blocks, commands, inline
from tests.support import ROOT

GROUP: Any = typer.main.get_command(app)
TARGETS = set(re.findall(r"^([a-z][\w-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
on_every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def options_of(command: Any) -> set[str]:
    named = {name for p in command.params for name in (*p.opts, *p.secondary_opts)}
    return named | {"--help"}


def fault(words: list[str], whole: bool) -> str | None:
    """What is wrong with a command line; None where nothing is, or where it is none of ours.
    `whole`: its arguments have to be there, too, and of the right type.
    """
    if words[:1] == ["make"] and len(words) > 1:
        return None if words[1] in TARGETS else f"no target {words[1]}"
    if words[:1] == ["python"] and words[1:] and words[1].endswith(".py"):
        return script_fault(words[1], words[2:])
    if words[:1] != ["rosd"] or len(words) < 2 or words[1].endswith(":"):  # rosd align: a message
        return None
    name, *rest = words[1:]
    if name.startswith("--") or not name.islower():  # rosd --help, rosd COMMAND
        return None
    if name not in GROUP.commands:
        return f"no command {name}"
    command = GROUP.commands[name]
    given = {word.partition("=")[0] for word in rest if word.startswith("--")}
    if strange := given - options_of(command):
        return f"{name} has no option {', '.join(sorted(strange))}"
    if whole:
        try:
            command.make_context(f"rosd {name}", rest)
        except Exception as error:  # what the parser raises is a class of its own
            return f"{name}: {error}"
    return None


def script_fault(file: str, words: list[str]) -> str | None:
    """What is wrong with a script: it is not there, or neither a parameter nor a text of it has the
    name of an option.
    """
    if not (ROOT / file).is_file():
        return f"no file {file}"
    text = (ROOT / file).read_text(encoding="utf-8")
    names = [word.lstrip("-") for word in words if word.startswith("--")]
    known = (rf"--{n}\b|\b{n.replace('-', '_')}: " for n in names)
    unknown = [n for n, how in zip(names, known, strict=True) if not re.search(how, text)]
    return f"{file} has no option --{unknown[0]}" if unknown else None


@on_every_page
def test_commands_in_blocks_can_be_run_as_they_stand(page):
    text = "\n".join(blocks(page, "", "sh", "bash", "console"))
    faults = [found for words in commands(text) if (found := fault(words, whole=True))]
    assert not faults


@on_every_page
def test_commands_in_sentences_exist(page):
    faults = [
        found
        for code in inline(page)
        for words in commands(code)
        if (found := fault(words, whole=False))
    ]
    assert not faults


def test_a_wrong_command_is_found():
    """So that the tests above can fail."""
    wrong = {
        "rosd reflct i1": "no command reflct",
        "rosd align --all i1": "align has no option --all",
        "rosd align i1 i2 # both": "align: Got unexpected extra argument",
        "cd x && rosd loop many": "loop: ",
        "rosd align": "align: Missing",
        "make it": "no target it",
        "python examples/none.py": "no file examples/none.py",
        "python examples/why_lost.py --why": "examples/why_lost.py has no option --why",
    }
    for line, told in wrong.items():
        found = [fault(words, whole=True) or "" for words in commands(line)]
        assert any(text.startswith(told) for text in found), (line, found)
    right = "$ rosd bootstrap --from MODEL [--to NAME] | tail; rosd align i1 # x\nrosd align: bad"
    assert [fault(words, whole=True) for words in commands(right)] == [None] * 4


def test_there_are_commands_to_test():
    texts = ["\n".join(blocks(page, "")) for page in PAGES]
    lines = [words for text in texts for words in commands(text) if words[:1] == ["rosd"]]
    assert len(lines) > 25
