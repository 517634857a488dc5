"""The documentation as a site: it builds, its links lead somewhere, and it loads nothing from
elsewhere.
"""

import logging
import re
import shutil

import pytest

from tests.support import ROOT

pytest.importorskip("material")

from mkdocs.commands.build import build
from mkdocs.config import load_config
from mkdocs.exceptions import Abort

LOADED = re.compile(
    r"<(?:script|img|iframe)[^>]*\ssrc=\"?([^\"\s>]+)|<link[^>]*\shref=\"?([^\"\s>]+)"
)


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    monkeypatch.setenv("NO_MKDOCS_2_WARNING", "1")
    logging.getLogger("mkdocs").setLevel(logging.WARNING)  # --strict counts what passes it


def test_the_site_builds_and_loads_nothing_from_elsewhere(tmp_path):
    build(load_config(str(ROOT / "mkdocs.yml"), strict=True, site_dir=str(tmp_path)))
    pages = {page.name: page.read_text(encoding="utf-8") for page in tmp_path.glob("*.html")}
    expected = {f"{p.stem}.html" for p in (ROOT / "docs").glob("*.md")} - {"README.html"}
    assert expected | {"index.html"} <= pages.keys()
    for name, text in pages.items():
        for found in LOADED.findall(text):
            target = next(filter(None, found))
            assert not re.match(r"(https?:)?//", target), (name, target)
            if name != "404.html" and not target.startswith("data:"):
                assert (tmp_path / target.partition("#")[0].partition("?")[0]).exists(), target


def small_site(folder, text, **more):
    """A repository with one page of documentation."""
    (folder / "docs").mkdir(parents=True)
    shutil.copy(ROOT / "docs" / "hooks.py", folder / "docs")
    (folder / "docs" / "index.md").write_text(text)
    (folder / "code.py").write_text("")
    (folder / "picture.png").write_bytes(b"a picture")
    (folder / "mkdocs.yml").write_text(
        "site_name: t\nhooks: [docs/hooks.py]\nexclude_docs: '*.py'\n"
    )
    config = load_config(
        str(folder / "mkdocs.yml"), strict=True, site_dir=str(folder / "site"), **more
    )
    build(config)
    return (folder / "site" / "index.html").read_text()


def test_links_to_files_of_the_repository_lead_there_or_are_text(tmp_path):
    text = "[the `code`](../code.py#L3) ![it](../picture.png)\n\n```\n[no](../link)\n```\n"
    plain = small_site(tmp_path / "a", text)
    assert "the <code>code</code>" in plain
    assert "code.py" not in plain
    assert 'src="pictures/picture.png"' in plain
    assert (tmp_path / "a" / "site" / "pictures" / "picture.png").read_bytes() == b"a picture"
    assert "[no](../link)" in plain  # in a block
    linked = small_site(tmp_path / "b", text, repo_url="https://example.org/x/")
    assert 'href="https://example.org/x/blob/main/code.py#L3"' in linked


@pytest.mark.parametrize("link", ["../gone.py", "gone.md"])
def test_a_link_that_leads_nowhere_stops_the_build(tmp_path, link):
    with pytest.raises(Abort):
        small_site(tmp_path, f"[x]({link})")
