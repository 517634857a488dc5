"""Numbers read exactly: the last one of a running text, and an answer that is one."""

import re
from fractions import Fraction

_SEPARATOR = r"(?:,|\{,\}|\\,|[\u00a0\u2009\u202f])"  # of thousands; LaTeX's, spaces of fixed width
_INTEGER = rf"(?:[0-9]{{1,3}}(?:{_SEPARATOR}[0-9]{{3}})+(?![0-9])|[0-9]+)"
_NUMBER = re.compile(
    rf"""
    (?:(?<![\w)\]}}%])(?P<sign>[-+\u2212])(?:\\?[$€£])?)?    # not the minus of 7-5 or of x-5
    (?<![A-Za-z_0-9])                                        # not the 2 of H2O
    (?:
        (?<!/)(?:(?P<whole>[0-9]+)[ ])?(?P<above>{_INTEGER})/(?P<below>{_INTEGER})(?![0-9/])
      | (?P<decimal>{_INTEGER}(?:\.[0-9]+)?|(?<!\.)\.[0-9]+)(?P<power>[eE][-+]?[0-9]{{1,3}}(?!\w))?
    )
    """,
    re.VERBOSE,
)
_FRAC = re.compile(r"([0-9]?)\\[dt]?frac\{([0-9]+)\}\{([0-9]+)\}")
_MOST_DIGITS = 80


def last_number_of(text: str) -> tuple[str, Fraction | None] | None:
    """The last number of a text without its separators and currency, and its exact value; None
    where there is no number.

    Read are signs, thousands (`1,000`), decimals (`2.50`, `.5`), fractions (`3/4`, `2 1/2`,
    `\\frac{3}{4}`) and powers of ten (`1e6`); a percent sign is left out. The value is None for a
    division by 0 and beyond 80 digits.
    """
    text = _FRAC.sub(lambda m: f"{m[1]}{' ' * bool(m[1])}{m[2]}/{m[3]}", text)
    found = list(_NUMBER.finditer(text))
    if not found:
        return None
    named = found[-1].groupdict()
    parts = {name: re.sub(_SEPARATOR, "", part or "") for name, part in named.items()}
    minus = "-" if parts["sign"] in ("-", "\u2212") else ""
    if not parts["below"]:
        bare = parts["decimal"] + parts["power"]
    else:
        whole = parts["whole"] + " " if parts["whole"] else ""
        bare = f"{whole}{parts['above']}/{parts['below']}"
    return minus + bare, _value(minus + bare)


def _value(bare: str) -> Fraction | None:
    """The value of a number without separators."""
    if sum(map(str.isdigit, bare)) > _MOST_DIGITS:
        return None
    whole, _, part = bare.rpartition(" ")
    try:
        value = Fraction(part)
    except ZeroDivisionError:
        return None
    if not whole:
        return value
    return Fraction(whole) - value if whole.startswith("-") else Fraction(whole) + value


# groups of three digits: `1,000`, `1{,}000`, `1\\,000`, `1 000`
_GROUPS = re.compile(r"(?<![\d.])\d{1,3}(?:(?:,|\{,\}|\\[,;!]|,\\!|\s)\d{3})+(?![\d,])")
_PLAIN = re.compile(r"[-+]?(\d{1,40}(\.\d{0,40})?|\.\d{1,40})(/\d{1,40})?")


def plain_number(text: str) -> Fraction | None:
    """The value of an answer that is one number: `1,000`, `$5.00`, `3/4`; a percent sign is left
    out. None for anything else, such as `1,0`.
    """
    if len(text) > 200:  # 40 digits twice, with separators
        return None
    text = _GROUPS.sub(lambda m: re.sub(r"\D", "", m.group()), text)
    text = re.sub(r"\\?\$|\\[!,;]|\\text\{[^}]*\}$|\\?%$", " ", text.strip())
    bare = re.sub(r"(?<=[-+/])\s+|\s+(?=/)", "", text.strip()).removesuffix(".").strip()
    if not _PLAIN.fullmatch(bare):
        return None
    try:
        above, _, below = bare.partition("/")
        return Fraction(above) / Fraction(below or 1)
    except ZeroDivisionError:
        return None
