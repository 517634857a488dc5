"""Grammars of reflections: only pieces of the response can be quoted.

They are in llguidance's dialect of Lark, which vLLM's `guidance` backend accepts too. Source:
https://github.com/guidance-ai/llguidance/blob/main/docs/syntax.md
"""

import json
import re
from collections.abc import Sequence

import numpy as np
import torch
from llguidance import LLMatcher, LLTokenizer
from llguidance.numpy import allocate_token_bitmask, fill_next_token_bitmask

from rosd_core.errors import RosdError

LONGEST_SOURCE = 64_000  # characters: the library refuses grammars of much more


def quote_grammar(response: str, shortest: int, longest: int) -> str | None:
    """A grammar of reflections on `response`: one or more `<error_quote>`, each with any text
    before it, and any text without that tag at the end. A quote is a piece of the response of
    `shortest` to `longest` characters, at least one of them visible.

    None for an empty response, of which nothing can be quoted. Of a very long one only the start
    can be quoted. Without a lower bound the empty quote would be legal; a response shorter than the
    bound is quoted as a whole.
    """
    response = response[:LONGEST_SOURCE]
    if not response.strip():
        return None
    shortest = min(shortest, len(response))
    piece = json.dumps(response, ensure_ascii=False)
    return f"""start: (before quoted "</error_quote>")+ after
before[suffix="<error_quote>"]: /(?s:.*)/
quoted: QUOTED
QUOTED: LENGTH & VISIBLE & %regex {{ "substring_chars": {piece} }}
LENGTH: /(?s:.{{{shortest},{longest}}})/
VISIBLE: /(?s:.*)\\S(?s:.*)/
after: AFTER
AFTER: /(?s:.*)/ & ~/(?s:.*)<error_quote(?s:.*)/
"""


def forced_grammar(
    response: str | None, quote_chars: tuple[int, int], idea_chars: tuple[int, int]
) -> str | None:
    """A grammar of reflections that are nothing but the tags: a quote of `response`, then an idea.
    None as `response`: an idea alone, for reflections on correct responses.

    A quote is a run of whole words of the response, of `quote_chars` characters (least, most), or
    the longest run below that; a word longer than that is cut into pieces. An idea is one paragraph
    of `idea_chars` characters without `<`, so that the closing tag always comes. None for a
    response of which nothing can be quoted.
    """
    idea = f"IDEA: /\\S[^<\\n]{{{idea_chars[0] - 1},{idea_chars[1] - 1}}}/\n"
    if response is None:
        return f'start: "<explanation>" IDEA "</explanation>"\n{idea}'
    response = response[:LONGEST_SOURCE].strip()
    if not response:
        return None
    longest = quote_chars[1]
    pieces = re.findall(rf"\s{{1,{longest}}}|\S{{1,{longest}}}", response)
    shortest = min(quote_chars[0], _longest_run(pieces, longest))
    words = json.dumps(pieces, ensure_ascii=False)
    return f"""start: "<error_quote>" QUOTED "</error_quote>\\n<explanation>" IDEA "</explanation>"
QUOTED: LENGTH & EDGES & %regex {{ "substring_chunks": {words} }}
LENGTH: /(?s:.{{{shortest},{longest}}})/
EDGES: /\\S((?s:.*)\\S)?/
{idea}"""


def _longest_run(pieces: Sequence[str], longest: int) -> int:
    """The most characters, up to `longest`, of consecutive pieces with a word at either end."""
    most = 0
    for start, first in enumerate(pieces):
        length = longest + 1 if first.isspace() else 0
        for piece in pieces[start:]:
            length += len(piece)
            if length > longest:
                break
            if not piece.isspace():
                most = max(most, length)
    return most


class TokenMasks:
    """Which tokens the grammar of each row allows next."""

    def __init__(self, tokenizer_json: str, vocabulary: int, stop_ids: Sequence[int]) -> None:
        self.vocabulary = vocabulary
        self.tokenizer = LLTokenizer(tokenizer_json, n_vocab=vocabulary, eos_token=list(stop_ids))

    def start(self, row_id: str, grammar: str) -> LLMatcher:
        """The state of a row before its first token. Raises RosdError for an invalid grammar."""
        matcher = LLMatcher(self.tokenizer, grammar)
        if matcher.is_error():
            raise RosdError(f"row {row_id}: the grammar is not valid: {matcher.get_error()}")
        return matcher

    def apply(self, logits_BV: torch.Tensor, matchers: Sequence[LLMatcher | None]) -> torch.Tensor:
        """Logits with -inf for the tokens that a row's grammar forbids, (B, V); rows without a
        grammar are unchanged.
        """
        bits_BW = allocate_token_bitmask(len(matchers), self.vocabulary)
        for b, matcher in enumerate(matchers):
            if matcher is not None:
                fill_next_token_bitmask(matcher, bits_BW, b)
        allowed_BV = np.unpackbits(bits_BW.view(np.uint8), axis=1, bitorder="little")
        mask_BV = torch.from_numpy(allowed_BV[:, : self.vocabulary] == 0).to(logits_BV.device)
        return logits_BV.masked_fill(mask_BV, -torch.inf)

    @staticmethod
    def accept(matcher: LLMatcher, token: int, row_id: str) -> None:
        """Advance by a sampled token. Raises RosdError where the grammar does not allow it."""
        if not matcher.is_stopped() and not matcher.consume_token(token):
            raise RosdError(f"row {row_id}: the grammar broke off: {matcher.get_error()}")
