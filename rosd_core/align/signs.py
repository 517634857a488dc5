"""The spellings of mathematical signs: LaTeX commands, Unicode, HTML entities and plain text."""

import re

_SPELLINGS = {  # what a sign is folded to: its LaTeX commands and its Unicode characters
    "*": ("times cdot ast bullet", "\u00d7\u22c5\u00b7\u2217\u2022\u2219"),
    "/": ("div", "\u00f7\u2215\u2044"),
    "-": ("", "\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe58\ufe63\uff0d"),
    "'": ("prime", "\u2018\u2019\u201a\u201b\u2032\u00b4"),
    '"': ("", "\u201c\u201d\u201e\u201f\u2033\u00ab\u00bb"),
    ">=": ("ge geq geqslant", "\u2265\u2a7e"),
    "<=": ("le leq leqslant", "\u2264\u2a7d"),
    "!=": ("ne neq", "\u2260"),
    "<": ("lt", ""),
    ">": ("gt", ""),
    "\u2248": ("approx simeq", "\u2248\u2243"),
    "+-": ("pm", "\u00b1"),
    "->": ("to rightarrow longrightarrow xrightarrow", "\u2192\u27f6"),
    "<-": ("leftarrow longleftarrow", "\u2190\u27f5"),
    "=>": ("Rightarrow Longrightarrow implies", "\u21d2\u27f9"),
    "<=>": ("iff Leftrightarrow rightleftharpoons", "\u21d4\u27fa\u21cc"),
    "infinity": ("infty", "\u221e"),
    "\u00b0": ("degree", "\u00b0"),
    "sqrt": ("sqrt", "\u221a"),
    "sum": ("sum", "\u2211"),
    "int": ("int", "\u222b"),
    "partial": ("partial", "\u2202"),
    "nabla": ("nabla", "\u2207"),
    "in": ("in", "\u2208"),
    "cup": ("cup", "\u222a"),
    "cap": ("cap", "\u2229"),
    "angle": ("angle", "\u2220"),
    "perp": ("perp", "\u22a5"),
    "parallel": ("parallel", "\u2225"),
    "triangle": ("triangle", "\u25b3"),
    "propto": ("propto", "\u221d"),
    "therefore": ("therefore", "\u2234"),
    "hbar": ("hbar", "\u210f"),
    "...": ("dots ldots cdots dotsc dotsb", "\u2026\u22ef"),
}
COMMANDS = {name: sign for sign, (names, _) in _SPELLINGS.items() for name in names.split()}
SIGNS = {letter: sign for sign, (_, letters) in _SPELLINGS.items() for letter in letters}
ENTITIES = {"&lt;": "<", "&gt;": ">", "&quot;": '"', "&#39;": "'"}

DROPPED = frozenset(  # LaTeX commands that only change the look
    """left right big Big bigg Bigg bigl bigr Bigl Bigr quad qquad displaystyle textstyle limits
    text textbf textit textrm mathrm mathbf mathit mathsf mathcal mathbb boldsymbol bm
    operatorname mbox
    boxed ce frac dfrac tfrac cfrac""".split()  # noqa: SIM905 - a list of 35 would be 35 lines
)

_BRACE = re.compile(r"(?P<fraction>\\[dtc]?frac\s?)(?=\{)|\\[{}]|[{}]")


def fraction_bars(text: str) -> set[int]:
    r"""The bar of each fraction: the place of the brace that closes the numerator of `\frac`."""
    bars: set[int] = set()
    if "frac" not in text:
        return bars
    opened: list[bool] = []  # whether each open brace holds a numerator
    fraction = False
    for brace in _BRACE.finditer(text):
        if brace.group() == "{":
            opened.append(fraction)
        elif brace.group() == "}" and opened and opened.pop():
            bars.add(brace.start())
        fraction = brace["fraction"] is not None
    return bars
