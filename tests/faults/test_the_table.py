"""Every row of the fault table names a test that exists."""

import re

from tests.support import ROOT

ROW = re.compile(r"\| ([\w/]+\.py)::(\w+) \|$", re.MULTILINE)


def test_every_fault_has_its_test():
    rows = ROW.findall((ROOT / "docs" / "reliability.md").read_text(encoding="utf-8"))
    assert len(rows) >= 60
    for file, name in rows:
        text = (ROOT / "tests" / file).read_text(encoding="utf-8")
        assert f"def {name}(" in text, (file, name)
