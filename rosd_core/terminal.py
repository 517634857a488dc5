"""Text of models and data on a terminal: what could steer it is shown, not sent."""

import unicodedata

# Cc controls, Cf invisible ones such as those that turn the direction of text, Cs halves of pairs
STEERING = {"Cc", "Cf", "Cs"}
KEPT = {"\n", "\t", "\u200c", "\u200d", "\u00ad"}  # the last three: joiners and the soft hyphen


def printable(text: str) -> str:
    r"""`text` with control characters as escapes: ESC as `\x1b`, a right-to-left override as
    `\u202e`. Newlines and tabs stay.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        repr(c)[1:-1] if c not in KEPT and unicodedata.category(c) in STEERING else c for c in text
    )
