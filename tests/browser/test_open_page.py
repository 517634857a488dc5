"""The fixture itself: it has to notice what the tests of pages rely on."""

from pathlib import Path

from tests.browser.support import OpenPage

PAGE = """<!doctype html><title>t</title><p id="text">before</p>
<script>document.getElementById("text").textContent = "after"</script>{rest}"""


def page_with(folder: Path, rest: str) -> Path:
    file = folder / "page.html"
    file.write_text(PAGE.replace("{rest}", rest), encoding="utf-8")
    return file


def test_scripts_run_and_a_clean_page_has_nothing_to_report(tmp_path: Path, open_page: OpenPage):
    opened = open_page(page_with(tmp_path, ""))
    assert opened.page.inner_text("#text") == "after"
    assert (opened.errors, opened.requests) == ([], [])


def test_a_request_to_the_network_is_noticed_and_fails(tmp_path: Path, open_page: OpenPage):
    opened = open_page(page_with(tmp_path, '<script src="https://example.com/a.js"></script>'))
    assert opened.requests == ["https://example.com/a.js"]
    assert "ERR_INTERNET_DISCONNECTED" in opened.errors[0]


def test_an_exception_of_a_script_is_noticed(tmp_path: Path, open_page: OpenPage):
    opened = open_page(page_with(tmp_path, "<script>throw new Error('broken')</script>"))
    assert opened.errors == ["broken"]
