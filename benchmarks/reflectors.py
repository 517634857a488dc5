"""How careless reflectors quote: each function turns a piece of a response into such a quote.

A class takes the piece as it stands, its neighbourhood and a random generator. It returns the quote
and how many characters of the piece's beginning it leaves out (0 nearly always), or None where the
piece is not of the kind that the class needs.
"""

import json
import re
from collections.abc import Callable
from random import Random

Quoted = tuple[str, int] | None
_LABEL = re.compile(r"(?:#+ |[-*] )?(?:\*\*)?(?:(?:Step )?\d+[.:)]|Option [A-D]:?)(?:\*\*)? |[-*] ")
_LETTERS = {
    "alpha": "α", "beta": "β", "gamma": "γ", "Delta": "Δ", "epsilon": "ε", "theta": "θ",
    "lambda": "λ", "mu": "μ", "pi": "π", "sigma": "σ", "tau": "τ", "varepsilon": "ε",
}  # fmt: skip
_SIGNS = {
    r"\times": ("×", "*", "x"),
    r"\cdot": ("·", "*"),
    r"\geq": ("≥", ">="),
    r"\leq": ("≤", "<="),
    r"\le": ("≤", "<="),
    r"\neq": ("≠", "!="),
    r"\approx": ("≈", "≈"),
    r"\pm": ("±", "+/-"),
    r"\to": ("→", "->"),
    r"\Rightarrow": ("⇒", "=>"),
    r"\infty": ("∞", "infinity"),
    r"\propto": ("∝", "∝"),
    r"^\circ": ("°", "°"),
}
COMMENTS = (
    " (this is wrong)",
    " (should be 42)",
    " <- here the wrong number is used",
    " — this ignores the second part.",
    " [incorrect]",
    " // wrong operation",
    "\nThis is where the reasoning goes wrong.",
    ", which is not correct",
    " ← error",
)


def verbatim(piece: str, rng: Random) -> Quoted:
    return piece, 0


def joined_lines(piece: str, rng: Random) -> Quoted:
    """Several lines quoted as one, with or without their list marks."""
    lines = [line.strip() for line in piece.split("\n") if line.strip()]
    if len(lines) < 2:
        return None
    if rng.random() < 0.5:
        lines = [lines[0]] + [_LABEL.sub("", line, count=1) for line in lines[1:]]
    return rng.choice((" ", " ", ", ", "; ")).join(lines), 0


def comment_after(piece: str, rng: Random) -> Quoted:
    return piece.strip() + rng.choice(COMMENTS), 0


def label_added(piece: str, rng: Random) -> Quoted:
    if _LABEL.match(piece):
        return None
    n = rng.randint(21, 29)  # none that the response has
    label = rng.choice((f"Step {n}: ", f"{n}. ", f"**Step {n}:** ", "- ", f"Line {n}: ", f"({n}) "))
    return label + piece, 0


def label_dropped(piece: str, rng: Random) -> Quoted:
    """The labels of the lines are left out, that of the first one, too."""
    first = _LABEL.match(piece)
    quote = "\n".join(_LABEL.sub("", line, count=1) for line in piece.split("\n"))
    return (quote, first.end() if first else 0) if quote != piece else None


def plain(piece: str, rng: Random) -> Quoted:
    r"""LaTeX as plain text: `\frac{a}{b}` as a/b, Greek letters, signs, `\text{}` left out."""
    if "\\" not in piece:
        return None
    opening = re.match(r"\$+|\\[(\[]\s?", piece)
    which = rng.random() < 0.5
    text = re.sub(r"\\(?:text|mathrm|boxed)\{([^{}]*)\}", r"\1", piece)
    for sign, (one, *others) in _SIGNS.items():
        chosen = one if which else others[-1]
        text = re.sub(re.escape(sign) + r"(?![A-Za-z])", lambda _, s=chosen: s, text)
    text = re.sub(r"\\sqrt\{([^{}]*)\}", r"√(\1)" if which else r"sqrt(\1)", text)
    for _ in range(2):
        text = re.sub(r"\\frac\{([^{}]*)\}\{([^{}]*)\}", _over, text)
    for name, greek in _LETTERS.items():
        letter = greek if which else name
        text = re.sub(rf"\\{name}(?![A-Za-z])", lambda _, s=letter: s, text)
    text = re.sub(r"\^\{(-?\d+)\}", r"^\1", text)
    text = re.sub(r"_\{([^{}]*)\}", r"_\1", text)
    text = re.sub(r"\\(?:left|right|,|\(|\)|\[|\])|\$+", "", text)
    text = re.sub(r"\\([a-z]+)", r"\1", text)
    return text.strip(), opening.end() if opening else 0


def _over(match: re.Match[str]) -> str:
    parts = (f"({p})" if re.search(r"[-+ ]", p.strip()) else p for p in match.groups())
    return "/".join(parts)


def as_latex(piece: str, rng: Random) -> Quoted:
    """Plain text as LaTeX."""
    if re.search(r"[\\{}]", piece) or not re.search(r"\d ?[*/=] ?\$?\d", piece):
        return None
    text = re.sub(r"(\d+)/(\d+)", r"\\frac{\1}{\2}", piece)
    text = re.sub(r" ?(?<!\*)\*(?!\*) ?", lambda _: rng.choice((r" \times ", r" \cdot ")), text)
    text = text.replace("$", r"\$").replace("%", r"\%")
    return rng.choice(("{}", "${}$", r"\({}\)")).replace("{}", text), 0


def ellipsis(piece: str, rng: Random) -> Quoted:
    words = piece.split(" ")
    if len(words) < 7:
        return None
    start = rng.randint(2, len(words) - 4)
    end = rng.randint(start + 1, len(words) - 2)
    gap = rng.choice((" ... ", "…", " [...] ", "... "))
    return " ".join(words[:start]) + gap + " ".join(words[end:]), 0


def pieces(piece: str, rng: Random) -> Quoted:
    """Two lines in one tag, and what stands between them left out."""
    lines = [line for line in piece.split("\n") if len(re.findall(r"\w+", line)) > 2]
    return (lines[0] + "\n" + lines[2], 0) if len(lines) > 2 else None


def word_changed(piece: str, rng: Random) -> Quoted:
    """A word in the latter half lost, added or replaced; white space changed before it."""
    words = piece.split(" ")
    if len(words) < 8:
        return None
    at = rng.randrange(len(words) // 2, len(words))
    if any(c.isdigit() for c in words[at]):
        return None
    words[at : at + 1] = rng.choice(([], [words[at], "then"], ["so"]))
    return " ".join(words), 0


def markup_rewritten(piece: str, rng: Random) -> Quoted:
    """Inline mathematics in other delimiters, other bullets, emphasis left out at the end."""
    text = piece.replace(r"\( ", "$").replace(r" \)", "$").replace("\\(", "$").replace("\\)", "$")
    if text == piece:
        text = re.sub(r"\$([^$<\n]*[\\_^=][^$<\n]*)\$", r"\\(\1\\)", piece)
    body = text[2:].replace("**", "")
    text = text[:2] + body
    return (text, 0) if text != piece else None


def in_quote_marks(piece: str, rng: Random) -> Quoted:
    frames = (
        'Step {n} says "{}"',
        'The line "{}" is wrong.',
        '"{}" is the first error',
        "`{}` should be different",
        "Line {n}: “{}”",
    )
    frame = rng.choice(frames).replace("{n}", str(rng.randint(1, 9)))
    return frame.replace("{}", piece.strip()), 0


CLASSES: dict[str, Callable[[str, Random], Quoted]] = {
    f.__name__: f
    for f in (
        verbatim,
        joined_lines,
        comment_after,
        label_added,
        label_dropped,
        plain,
        as_latex,
        ellipsis,
        pieces,
        word_changed,
        markup_rewritten,
        in_quote_marks,
    )
}

_IDEA = "The factor is wrong: it has to be halved."


def tags(quote: str) -> str:
    return f"<error_quote>{quote}</error_quote>\n<explanation>{_IDEA}</explanation>"


def json_unescaped(quote: str) -> str:
    """JSON whose LaTeX keeps single backslashes."""
    body = quote.replace('"', '\\"').replace("\n", "\\n")
    return f'{{"error_quote": "{body}", "explanation": "{_IDEA}"}}'


def json_open(quote: str) -> str:
    return json.dumps({"error_quote": quote, "explanation": _IDEA}).removesuffix("}")


def json_second(quote: str) -> str:
    return '{"verdict": "wrong"}\n' + json.dumps({"error_quote": quote, "explanation": _IDEA})


def json_nested(quote: str) -> str:
    return json.dumps({"reflection": [{"error_quote": quote, "explanation": _IDEA}]}, indent=2)


def headings(quote: str) -> str:
    return f"**error_quote:** {quote}\n\n**explanation:** {_IDEA}"


def titles(quote: str) -> str:
    return f"### Error Quote\n{quote}\n\n### Explanation\n{_IDEA}"


def tag_and_heading(quote: str) -> str:
    return f"<error_quote>{quote}</error_quote>\n\n**Explanation:** {_IDEA}"


FORMATS = (
    tags,
    json_unescaped,
    json_open,
    json_second,
    json_nested,
    headings,
    titles,
    tag_and_heading,
)
