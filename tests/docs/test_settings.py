"""Settings and data in the documentation: every block of YAML and JSON is accepted as it stands."""

import json
from typing import Any

import pytest
from ruamel.yaml import YAML
from ruamel.yaml.constructor import DuplicateKeyError

from rosd_core.config.bootstrap import Bootstrap
from rosd_core.config.params import Params
from rosd_core.config.study import Study
from tests.docs.pages import PAGES, blocks
from tests.support import ROOT


def merged(into: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """`changes` over `into`, section by section; domains replace those that are there."""
    known = into.keys() & changes.keys() - {"domains"}
    deeper = {
        key: merged(into[key], changes[key])
        for key in known
        if isinstance(into[key], dict) and isinstance(changes[key], dict)
    }
    return into | changes | deeper


def parts(text: str) -> list[dict[str, Any]]:
    """The mapping in a block, or, where a key is there twice, that of each line: alternatives."""
    yaml = YAML(typ="safe")
    try:
        return [yaml.load(text)]
    except DuplicateKeyError:
        return [YAML(typ="safe").load(line) for line in text.splitlines()]


def check(changes: dict[str, Any]) -> None:
    """Raises ValueError for what neither params.yaml nor a study takes."""
    shipped = YAML(typ="safe").load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    if "arms" in changes:
        Study.model_validate(changes)
    elif set(changes) <= set(Bootstrap.model_fields):
        shipped["bootstrap"] |= changes
        Params.model_validate(shipped)
    else:
        Params.model_validate(merged(shipped, changes))


YAMLS = [
    pytest.param(text, id=f"{page.stem}-{number}")
    for page in PAGES
    for number, text in enumerate(blocks(page, "yaml"))
]


@pytest.mark.parametrize("text", YAMLS)
def test_settings_are_valid(text):
    for changes in parts(text):
        check(changes)


@pytest.mark.parametrize(
    "text", ["rollout: {group: 3}", "distil: {seed: 1}", "reflect: {source: file, file: null}"]
)
def test_a_wrong_setting_is_found(text):
    with pytest.raises(ValueError, match="validation error"):
        check(parts(text)[0])


def test_json_is_json():
    lines = [line for page in PAGES for text in blocks(page, "json") for line in text.splitlines()]
    assert lines
    assert all(isinstance(json.loads(line), dict) for line in lines)
