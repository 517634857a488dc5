"""The pages of params and commands."""

import pytest

from rosd_core.config.load import load_params
from rosd_core.report.reference import entries, params_markdown, split_comment
from stages.cli_docs import commands_markdown
from tests.support import ROOT, command, refused

TEXT = """# The head of the file.

machine:
  threads: 1      # OpenMP | threads

align:            # sets a_b
  # first | second
  #   | third
  mask: "a # b"   # with [brackets]
  deep:
    er: {x: 1}
    most: null    # see `a_b`
"""


def test_comments_belong_to_the_key_beside_or_below_them():
    assert [(e.name, e.value, e.comment) for e in entries(TEXT)] == [
        ("machine", None, ""),
        ("machine.threads", "1", "OpenMP | threads"),
        ("align", None, "sets a_b"),
        ("align.mask", '"a # b"', "first | second | third with [brackets]"),
        ("align.deep", None, ""),
        ("align.deep.er", "{x: 1}", ""),
        ("align.deep.most", "null", "see `a_b`"),
    ]


def test_a_page_has_a_table_per_section_and_shows_comments_as_they_are():
    page = params_markdown(TEXT)
    assert "\n## align\n\nsets a\\_b\n\n| key | value | |\n" in page
    assert "| `machine.threads` | `1` | OpenMP \\| threads |" in page
    assert '| `align.mask` | `"a # b"` | first \\| second \\| third with \\[brackets\\] |' in page
    assert "| `align.deep.most` | `null` | see `a_b` |" in page


@pytest.mark.parametrize(
    ("rest", "parts"),
    [
        ("1  # one", ("1", "one")),
        ("'#'", ("'#'", "")),
        (r'"\"#" # x', (r'"\"#"', "x")),
        ("# alone", ("", "alone")),
        ("a#b", ("a#b", "")),
    ],
)
def test_a_comment_begins_outside_of_quotes(rest, parts):
    assert split_comment(rest) == parts


def test_every_key_of_the_shipped_params_is_there():
    """Those of pydantic's model, as far as they are mappings in the file, too."""
    names = {entry.name for entry in entries((ROOT / "params.yaml").read_text(encoding="utf-8"))}
    params = load_params(ROOT / "params.yaml")
    for section in type(params).model_fields:
        value = getattr(params, section)
        keys = value if isinstance(value, dict) else type(value).model_fields
        assert {f"{section}.{key}" for key in keys} <= names


def test_the_command_shows_the_params_of_a_project_and_names_what_is_wrong_with_them(project):
    code, said = command(project, "reference", "params", "--params", "params.yaml")
    assert (code, "| `rollout.group_size` | `4` |" in said) == (0, True)  # 8 in the shipped ones
    file = project / "params.yaml"
    file.write_text(file.read_text().replace("group_size: 4", "group_size: 4\n  group_seize: 4"))
    told = refused(project, "reference", "params", "--params", "params.yaml")
    assert "unknown key 'rollout.group_seize'. Did you mean 'group_size'?" in told


def test_the_page_of_params_is_current():
    """Renew it with `rosd reference params > docs/params.md`."""
    shipped = (ROOT / "params.yaml").read_text(encoding="utf-8")
    assert (ROOT / "docs" / "params.md").read_text(encoding="utf-8") == params_markdown(shipped)


def test_the_page_of_commands_is_current():
    """Renew it with `rosd reference commands > docs/commands.md`."""
    assert (ROOT / "docs" / "commands.md").read_text(encoding="utf-8") == commands_markdown()
