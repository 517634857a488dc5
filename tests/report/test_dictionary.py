"""The dictionary of the tables, and its page in the docs."""

import pytest

from rosd_core.report.dictionary import as_markdown, describe
from rosd_core.tables.schemas import SCHEMAS
from tests.support import ROOT


@pytest.mark.parametrize("table", SCHEMAS)
def test_every_column_has_unit_and_description(table):
    assert all(unit and len(text) > 5 for _, _, unit, text in describe(table))


def test_the_page_in_the_docs_is_what_rosd_schema_prints():
    """Renew it with `rosd schema --markdown > docs/tables.md`."""
    assert (ROOT / "docs" / "tables.md").read_text(encoding="utf-8") == as_markdown()
