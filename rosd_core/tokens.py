"""The tokenizer without torch: what alignment needs of it, from tokenizer.json alone."""

from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer

from rosd_core.align import Span, token_spans
from rosd_core.errors import RosdError


class TokenMap:
    """Maps sampled ids to the characters of their text, with the tokenizer of a model folder."""

    def __init__(self, folder: Path) -> None:
        file = folder / "tokenizer.json"
        if not file.is_file():
            raise RosdError(
                f"{file}: no such file; alignment needs the sampling model's fast tokenizer."
            )
        self.tokenizer = Tokenizer.from_file(str(file))
        self.special = frozenset(
            t.content for t in self.tokenizer.get_added_tokens_decoder().values() if t.special
        )

    def decode(self, ids: Sequence[int]) -> str:
        return self.tokenizer.decode(list(ids), skip_special_tokens=True)

    def spans(self, ids: Sequence[int], response: str) -> list[Span]:
        """Character span of each id in `response`; see `rosd_core.align.token_spans`."""
        tokens = [self.tokenizer.id_to_token(i) or "" for i in ids]
        return token_spans(ids, response, tokens, self.special, self.decode)
