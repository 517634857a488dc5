"""report.html in a real browser, without a network."""

from pathlib import Path
from typing import Any

import pytest

from tests.browser.pages import TOKENS, page_of, rollout, write_page
from tests.browser.support import Opened, OpenPage

PROMPTS = {"chain-1": "Start with 5. Add 2. Add 1.", "story-1": "Anna has 5 apples."}
SMALL = {
    "i1": [
        rollout("chain-1", 0, "5+2=7\n7+1=8\nAnswer: 8"),
        rollout("chain-1", 1, "5+2=7\n7+1=9\nAnswer: 9", quote="7+1=9", peer="0"),
        rollout("story-1", 0, "5+2=6\nAnswer: 6", reason="no_idea"),
    ],
    "i2": [rollout("chain-1", 0, "5+2=7\n7+1=8\nAnswer: 8")],
}
HOSTILE = {
    "script": "1+1=3 </script><script>window.hacked = 1</script>",
    "handler": "1+1=3 <img src=x onerror='window.hacked = 1'><svg onload=window.hacked=1>",
    "ansi": "1+1=3 \x1b[31mred\x1b[0m \x07 \x00",
    "right to left": "1+1=3 \u202egnol \u2066x\u2069 \u200b",
    "style": "1+1=3 <style>*{display:none}</style> &lt;b&gt; <!-- ${window.hacked = 1}",
}


@pytest.fixture
def small(tmp_path: Path, open_page: OpenPage) -> Opened:
    return ready(open_page(write_page(tmp_path, page_of(SMALL, PROMPTS))))


def ready(opened: Opened) -> Opened:
    opened.page.wait_for_selector("body[data-ready]", timeout=30_000)
    return opened


def wait_for(page: Any, selector: str, text: str) -> None:
    """Until the element holds the text. wait_for_function needs `eval`, which the page forbids."""
    page.locator(selector).filter(has_text=text).wait_for(timeout=10_000)


def shown(opened: Opened) -> str:
    return opened.page.inner_text("#count")


def test_the_page_draws_everything_and_loads_nothing(small: Opened):
    page = small.page
    assert shown(small) == "4 of 4 rollouts"
    assert page.locator("#accuracy-chart svg path").count() >= 4  # two lines, two bands
    assert page.locator("#training-charts svg").count() == 4
    assert page.locator("#methods svg circle").count() == 4  # two arms, in and out of domain
    assert "wrong rollouts" in page.inner_text("#funnels summary >> nth=0")
    assert (small.errors, small.requests) == ([], [])


def test_the_correction_is_what_one_sees_first(small: Opened):
    """The wrong rollout with the largest divergence: prefix, quote, tokens, idea, peer."""
    detail = small.page.locator("#detail")
    assert "✗ wrong i1 chain-1/1" in detail.inner_text()
    assert detail.locator(".prefix").first.inner_text().startswith(("5+2=7", "preserved"))
    response = detail.get_by_role("group", name="Response")
    prefix = "".join(response.locator(".prefix").all_inner_texts())
    tokens = "".join(response.locator(".token").all_inner_texts())
    assert prefix == "5+2=7\n"
    assert tokens == "7+1=9\nAnswer: 9"
    quoted = response.locator(".quote").all_inner_texts()
    assert "".join(quoted).strip() == "7+1=9"
    assert "Look at 7+1=9 again." in detail.inner_text()
    assert "Correct peer: chain-1/0" in detail.inner_text()
    # readers without colours are told the same
    assert "supervised from here" in (response.text_content() or "")


def test_keys_go_from_token_to_token(small: Opened):
    page = small.page
    page.locator("#detail .text .token").first.focus()
    page.keyboard.press("ArrowRight")
    focused = page.evaluate("document.activeElement.dataset.n")
    assert focused == "1"
    card = page.inner_text("#card")
    assert "student 60.7 %, teacher 5.0 %" in card  # exp(-0.5), exp(-3)
    assert "divergence 0.300" in card
    assert "← sampled" in card


def test_filters_and_search(small: Opened):
    page = small.page
    for name, value, count in (
        ("verdict", "0", 2), ("verdict", "1", 2), ("iteration", "i2", 1), ("domain", "story", 1),
        ("outcome", "trained", 1), ("outcome", "parse:no_idea", 1), ("match", "exact", 1),
    ):  # fmt: skip
        page.select_option(f"#f-{name}", value)
        wait_for(page, "#count", f"{count} of 4 rollouts")
        page.click("#filters button[type=reset]")
        wait_for(page, "#count", "4 of 4 rollouts")
    page.locator("#list").focus()
    page.keyboard.press("/")
    page.keyboard.type("look at 7")  # of an idea, whatever its case
    wait_for(page, "#count", "1 of 4 rollouts")
    page.fill("#f-text", "ANNA has")  # of a problem
    wait_for(page, "#count", "1 of 4 rollouts")
    page.fill("#f-text", "")
    page.fill("#f-divergence", "0.29")
    wait_for(page, "#count", "1 of 4 rollouts")
    assert small.errors == []


def test_the_list_is_for_keys_and_screen_readers(small: Opened):
    page = small.page
    page.locator("#list").focus()
    page.keyboard.press("Home")
    wait_for(page, "#detail", "chain-1/0")
    page.keyboard.press("End")
    wait_for(page, "#detail", "i2 chain-1/0")
    current = page.get_attribute("#list", "aria-activedescendant")
    assert page.get_attribute(f"#{current}", "aria-selected") == "true"
    assert page.get_attribute(f"#{current}", "aria-setsize") == "4"


def test_a_loss_of_the_funnel_leads_to_its_rows(small: Opened):
    small.page.click("#funnels button:has-text('the reflector wrote no corrective idea')")
    assert shown(small) == "1 of 4 rollouts"
    wait_for(small.page, "#detail", "story-1/0")
    assert "no tags here" in small.page.inner_text("#detail")  # what the reflector wrote


def test_a_problem_is_followed_through_the_iterations(small: Opened):
    page = small.page
    assert "1 of 2 correct" in page.inner_text("#detail .group")
    page.click("#detail .group tr:has-text('i2') button")
    wait_for(page, "#detail", "i2 chain-1/0")
    assert page.url.endswith("#rollout=i2%2Fchain-1%2F0")
    page.reload()
    ready(small)
    assert "i2 chain-1/0" in page.inner_text("#detail")  # the address names the rollout


@pytest.mark.parametrize("text", HOSTILE.values(), ids=list(HOSTILE))
def test_hostile_text_is_text(tmp_path: Path, open_page: OpenPage, text: str):
    row = rollout("chain-1", 0, text, quote="1+1=3")
    row |= {"idea": text, "feedback": text, "raw": text, "parsed_answer": text}
    html = page_of({"i1": [row]}, {"chain-1": text}, title=text)
    opened = ready(open_page(write_page(tmp_path, html)))
    assert opened.page.evaluate("window.hacked") is None
    said = opened.page.inner_text("#detail")
    for odd in "\x1b\x07\x00\u202e\u2066\u200b":
        if odd in text:
            assert odd not in said
            assert f"U+{ord(odd):04X}" in said
    plain = "".join(c if c.isprintable() and c not in "\u200b" else f"U+{ord(c):04X}" for c in text)
    response = opened.page.get_by_role("group", name="Response")
    parts = response.locator("> span:not(.sr)").all_inner_texts()
    assert "".join(parts).replace("▫", "") == plain
    assert (opened.errors, opened.requests) == ([], [])


def test_a_long_line_is_shown_in_part(tmp_path: Path, open_page: OpenPage):
    row = rollout("chain-1", 0, "1+1=3 " + "ab " * 40_000, quote="1+1=3")
    for name in ("positions", "supervised"):
        row[name] = row[name][:3] if name == "positions" else 3
    row["scored"] = {k: v[:3] if k != "response_ids" else v for k, v in row["scored"].items()}
    opened = ready(open_page(write_page(tmp_path, page_of({"i1": [row]}, PROMPTS))))
    assert len(opened.page.inner_text("#detail")) < 40_000
    assert opened.page.locator("button:has-text('characters after')").count() == 1
    assert opened.errors == []


def test_every_supervised_token_can_be_reached(tmp_path: Path, open_page: OpenPage):
    """The face is four byte tokens; the last of them, without text of its own, has the largest
    divergence. The page opens it, and the arrow keys go through all.
    """
    row = rollout("chain-1", 0, "1+1=3 😀 ok", quote="1+1=3", divergence=0.01)
    ends = TOKENS.spans(row["response_ids"], row["response"])[:, 1].tolist()
    silent = [t for t in range(1, len(ends)) if ends[t] == ends[t - 1]]
    assert len(silent) == 3
    row["scored"]["divergence"][silent[-1]] = 0.69
    opened = ready(open_page(write_page(tmp_path, page_of({"i1": [row]}, PROMPTS))))
    page = opened.page
    assert f"Token {silent[-1]} " in page.inner_text("#card")
    tokens = page.locator("#detail .text .token")
    assert sorted(int(n) for n in tokens.evaluate_all("all => all.map(t => t.dataset.n)")) == list(
        range(len(ends))
    )
    assert page.locator("#detail .text .token", has_text="▫").count() == 3


def test_a_cut_response_ends_with_a_token_of_its_own(tmp_path: Path, open_page: OpenPage):
    row = rollout("chain-1", 0, "1+1=3 " + "a" * 30_000, quote="1+1=3")
    opened = ready(open_page(write_page(tmp_path, page_of({"i1": [row]}, PROMPTS))))
    assert opened.page.locator("#detail .text .token").last.inner_text() == "a"


def test_an_address_of_another_hand_does_not_stop_it(tmp_path: Path, open_page: OpenPage):
    opened = open_page(write_page(tmp_path, page_of(SMALL, PROMPTS)))
    opened.page.goto(opened.page.url.split("#")[0] + "#rollout=100%")
    opened.page.reload()
    ready(opened)
    assert opened.errors == []
