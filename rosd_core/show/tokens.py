"""Sampled tokens as text, for people."""

import json

from rosd_core.align.token_spans import TokenMap
from rosd_core.terminal import printable


def token_name(tokens: TokenMap, token_id: int) -> str:
    """A token's text in quotes (`"11"`, `" the"`, `"\\n"`), the name of a special token
    (`<|im_end|>`), the bytes of a part of a character (`<e2 82>`).
    """
    name = tokens.tokenizer.id_to_token(token_id)
    if name is None:
        return f"id {token_id}"
    if token_id in tokens.special:
        return printable(name).replace("\n", "\\n")
    # an id in the middle, because some tokenizers strip the first and the last token of a text
    piece = tokens.pieces([token_id] * 3)[1]
    try:
        return printable(json.dumps(piece.decode(), ensure_ascii=False))
    except UnicodeDecodeError:
        return f"<{piece.hex(' ')}>"
