"""The text of a reflection, written and parsed: quotes and idea from whatever a model wrote."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from rosd_core.prompts.thinking import after_thinking

_FENCE = re.compile(
    r"(?<![^\n])[ \t]{0,8}```[\w+-]{0,20}[ \t]{0,8}(?=<|\n|\Z)\n?|```[ \t]{0,8}(?=\n|\Z)"
)
# the published contract misspells it `explaination`; models misspell the rest
_QUOTE_NAME, _IDEA_NAME = r"err?or[ _-]?quotes?", r"expl(?:ain|an)ations?"
_TAG = re.compile(
    rf"<\s{{0,3}}(?P<close>/?)\s{{0,3}}(?:(?P<quote>{_QUOTE_NAME})|(?P<idea>{_IDEA_NAME}))\s{{0,3}}>?",
    re.IGNORECASE,
)
_LITERAL_QUOTE = re.compile(r"<error_quote>(.*?)</error_quote>", re.DOTALL)


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
    """The sections of an answer that is a JSON object in place of tags."""
    at = text.find("{")
    try:
        data = json.JSONDecoder(strict=False).raw_decode(text, at)[0] if at >= 0 else None
    except (ValueError, RecursionError):
        return []
    sections = []
    for key, value in (data if isinstance(data, dict) else {}).items():
        named = _TAG.match(f"<{key}>")
        for content in value if isinstance(value, list) else [value]:
            if named and isinstance(content, str):
                clean = content.encode("utf-8", "replace").decode()  # no lone surrogates
                sections.append(("quote" if named["quote"] else "idea", clean, True))
    return sections


def parse_reflection(raw: str, kind: str, finish_reason: str) -> Reflection:
    """Read quotes and idea. Never raises: `status` says what is missing, `repairs` what was fixed.

    Reasoning before the answer is ignored (`thought`), so are code fences (`fence`); a tag that is
    not closed ends where the next one starts (`unclosed`); several explanations are joined
    (`several_ideas`); a JSON object may replace the tags (`json`).
    """
    repairs = []
    text = after_thinking(raw)
    repairs += ["thought"] * (text != raw)
    if "```" in text:
        text = _FENCE.sub("", text)
        repairs.append("fence")
    sections = _sections(text)
    if not sections and (sections := _json_sections(text)):
        repairs.append("json")
    if sections and sections[-1][0] == "idea" and not sections[-1][2] and finish_reason == "length":
        sections.pop()  # the idea was cut off: half of it may mean the opposite
    repairs += ["unclosed"] * any(not closed for _, _, closed in sections)
    quotes = [content.strip("\r\n") for name, content, _ in sections if name == "quote"]
    ideas = [content.strip() for name, content, _ in sections if name == "idea"]
    quotes, ideas = ([t for t in dict.fromkeys(texts) if t.strip()] for texts in (quotes, ideas))
    repairs += ["several_ideas"] * (len(ideas) > 1)
    if kind != "wrong":
        quotes = []
    if not ideas:
        status = "truncated" if finish_reason == "length" else "no_idea"
    else:
        status = "no_quote" if kind == "wrong" and not quotes else "ok"
    idea = "\n".join(ideas) or None
    return Reflection(tuple(quotes), idea, status, tuple(repairs))


def parse_constrained(raw: str, response: str, finish_reason: str) -> Reflection:
    """Read a reflection that was decoded under the quote grammar. Only quotes in exactly the
    grammar's tags count; each is a piece of the response.

    Elsewhere the reflector writes freely, so a misspelt tag, which `parse_reflection` would repair,
    could hold anything.
    """
    loose = parse_reflection(raw, "wrong", finish_reason)
    found = (quote for quote in _LITERAL_QUOTE.findall(raw) if quote.strip())
    quotes = tuple(dict.fromkeys(quote for quote in found if quote in response))
    status = loose.status
    if loose.idea is not None:
        status = "ok" if quotes else "no_quote"
    return Reflection(quotes, loose.idea, status, loose.repairs)


def without_quotes(raw: str, quotes: Sequence[str]) -> str:
    """What the reflector wrote apart from its quotes; it helps to choose between several places."""
    text = _TAG.sub(" ", raw)
    for quote in quotes:
        text = text.replace(quote, " ", 1)
    return text
