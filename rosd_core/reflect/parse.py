"""The text of a reflection, written and parsed: quotes and idea from whatever a model wrote."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from rosd_core.prompts.thinking import after_thinking
from rosd_core.reflect.json_answers import json_values

_FENCE = re.compile(
    r"(?<![^\n])[ \t]{0,8}```[\w+-]{0,20}[ \t]{0,8}(?=<|\n|\Z)\n?|```[ \t]{0,8}(?=\n|\Z)"
)
# the published contract misspells it `explaination`; models misspell the rest
_QUOTE_NAME, _IDEA_NAME = r"err?or[ _-]?quotes?", r"expl(?:ain|an)ations?"
_TAG = re.compile(
    rf"<\s{{0,3}}(?P<close>/?)\s{{0,3}}(?:(?P<quote>{_QUOTE_NAME})|(?P<idea>{_IDEA_NAME}))\s{{0,3}}>?",
    re.IGNORECASE,
)
_NAMES = rf"(?:(?P<quote>{_QUOTE_NAME})|(?P<idea>{_IDEA_NAME}))"
_KEY = re.compile(rf'["\']{_NAMES}["\']\s{{0,3}}:', re.IGNORECASE)
# `**Error quote:** ...`, `2. explanation: ...`, `### Explanation` alone in its line
_HEADING = re.compile(
    rf"""(?<![^\n])[ \t]{{0,8}}(?:\d{{1,2}}[.)][ ]{{1,3}}|[-*>][ ]{{1,3}})?[\#*_`]{{0,6}}[ ]{{0,3}}
    {_NAMES}[*_`]{{0,3}}[ ]{{0,3}}(?:[:=]|(?=[ \t]{{0,8}}(?:\n|\Z)))[*_`]{{0,3}}[ \t]{{0,3}}""",
    re.VERBOSE | re.IGNORECASE,
)
_LITERAL_TAG = re.compile(r"</?error_quote>")
MOST_QUOTES = 16  # of a reflection; those after it are left out


@dataclass(frozen=True)
class Reflection:
    """A parsed reflection; `status` and `repairs` are enums of the table."""

    quotes: tuple[str, ...]
    idea: str | None
    status: str
    repairs: tuple[str, ...]


def format_reflection(quote: str | None, idea: str, check: str = "") -> str:
    """A well-formed reflection, after the reasoning `check`; `parse_reflection` inverts it."""
    head = "" if quote is None else f"<error_quote>{quote}</error_quote>"
    return f"{check}{head}<explanation>{idea}</explanation>"


def _sections(text: str) -> list[tuple[str, str, bool]]:
    """(name, content, closed) of each opened tag, in order.

    An unclosed section ends at the next tag or at the end. An explanation that is closed before the
    next one opens is taken as a whole: quote tags inside it are part of its text.
    """
    sections, tags, number = [], list(_TAG.finditer(text)), 0
    while number < len(tags):
        tag, number = tags[number], number + 1
        if tag["close"]:
            continue
        name = "quote" if tag["quote"] else "idea"
        last = number
        if name == "idea":
            ends = (n for n in range(number, len(tags)) if tags[n]["idea"])
            last = next(ends, number)
            if last < len(tags) and not tags[last]["close"]:
                last = number
        following = tags[last] if last < len(tags) else None
        content = text[tag.end() : following.start() if following else len(text)]
        closed = following is not None and bool(following["close"]) and bool(following[name])
        sections.append((name, _TAG.sub("", content) if name == "idea" else content, closed))
        number = last
    return sections


def _json_sections(text: str) -> list[tuple[str, str, bool]]:
    """The sections of an answer in JSON in place of tags."""
    values = json_values(text, _KEY)
    return [("quote" if key["quote"] else "idea", text, closed) for key, text, closed in values]


def _headed_sections(text: str, cut: bool) -> list[tuple[str, str, bool]]:
    """The sections of an answer with headings in place of tags. Each ends where the next starts;
    the last one is not closed if the answer was `cut`.
    """
    headings = list(_HEADING.finditer(text))
    ends = [*(heading.start() for heading in headings[1:]), len(text)]
    return [
        ("quote" if heading["quote"] else "idea", text[heading.end() : end].strip(), not last)
        for heading, end in zip(headings, ends, strict=False)
        for last in [cut and end == len(text)]
    ]


def _read(text: str, cut: bool) -> tuple[list[tuple[str, str, bool]], list[str]]:
    """The sections of an answer and what had to be repaired: tags, else JSON, else headings. Where
    the explanation alone has no tag, its heading will do.
    """
    sections = _sections(text)
    if not sections and (sections := _json_sections(text)):
        return sections, ["json"]
    if any(name == "idea" for name, _, _ in sections):
        return sections, []
    headed = _headed_sections(_TAG.sub("\n", text) if sections else text, cut)
    headed = [section for section in headed if section[0] == "idea" or not sections]
    return sections + headed, ["heading"] * bool(headed)


def first_quotes(quotes: Iterable[str]) -> tuple[tuple[str, ...], list[str]]:
    """The first MOST_QUOTES different quotes; and the repair that says whether there were more."""
    different = tuple(islice(dict.fromkeys(quotes), MOST_QUOTES + 1))
    return different[:MOST_QUOTES], ["many_quotes"] * (len(different) > MOST_QUOTES)


def parse_reflection(raw: str, kind: str, finish_reason: str) -> Reflection:
    """Read quotes and idea. Never raises: `status` says what is missing, `repairs` what was fixed.

    Reasoning before the answer is ignored (`thought`), so are code fences (`fence`); a tag that is
    not closed ends where the next one starts (`unclosed`); several explanations are joined
    (`several_ideas`); of more than MOST_QUOTES quotes the first are taken (`many_quotes`); JSON
    (`json`) or headings (`heading`) may replace the tags.
    """
    repairs = []
    text = after_thinking(raw)
    repairs += ["thought"] * (text != raw)
    if "```" in text:
        text = _FENCE.sub("", text)
        repairs.append("fence")
    sections, missing = _read(text, finish_reason == "length")
    repairs += missing
    if sections and sections[-1][0] == "idea" and not sections[-1][2] and finish_reason == "length":
        sections.pop()  # the idea was cut off: half of it may mean the opposite
    repairs += ["unclosed"] * any(not closed for _, _, closed in sections)
    quotes = [content.strip("\r\n") for name, content, _ in sections if name == "quote"]
    ideas = [content.strip() for name, content, _ in sections if name == "idea"]
    quotes, ideas = ([t for t in dict.fromkeys(texts) if t.strip()] for texts in (quotes, ideas))
    repairs += ["several_ideas"] * (len(ideas) > 1)
    if kind != "wrong":
        quotes = []
    kept, more = first_quotes(quotes)
    repairs += more
    if not ideas:
        status = "truncated" if finish_reason == "length" else "no_idea"
    else:
        status = "no_quote" if kind == "wrong" and not quotes else "ok"
    idea = "\n".join(ideas) or None
    return Reflection(kept, idea, status, tuple(repairs))


def parse_constrained(raw: str, response: str, finish_reason: str) -> Reflection:
    """Read a reflection that was decoded under the quote grammar. Only quotes in exactly the
    grammar's tags count; each is a piece of the response.

    Elsewhere the reflector writes freely, so a misspelt tag, which `parse_reflection` would repair,
    could hold anything.
    """
    loose = parse_reflection(raw, "wrong", finish_reason)
    found = islice(dict.fromkeys(_literal_quotes(raw)), MOST_QUOTES**2)
    quotes, more = first_quotes(quote for quote in found if quote in response)
    status = loose.status
    if loose.idea is not None:
        status = "ok" if quotes else "no_quote"
    repairs = tuple(r for r in loose.repairs if r != "many_quotes") + tuple(more)
    return Reflection(quotes, loose.idea, status, repairs)


def _literal_quotes(raw: str) -> Iterator[str]:
    """What stands between `<error_quote>` and the next `</error_quote>`, where it is visible."""
    start = -1
    for tag in _LITERAL_TAG.finditer(raw):
        if tag.group() == "<error_quote>":
            start = tag.end() if start < 0 else start
        elif start >= 0:
            if (quote := raw[start : tag.start()]).strip():
                yield quote
            start = -1


def without_quotes(raw: str, quotes: Sequence[str]) -> str:
    """What the reflector wrote apart from its quotes; it helps to choose between several places."""
    text = _TAG.sub(" ", raw)
    for quote in quotes:
        text = text.replace(quote, " ", 1)
    return text
