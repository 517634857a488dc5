"""Which characters of the response each sampled token contributes. Needs the tokenizer, not torch.

The map is computed from the *sampled* ids, never by encoding the text again: a sampled sequence
need not be the one that the tokenizer would choose, and BPE joins a word to the space before it.

`tokenizer.json` describes how tokens become text, as a chain of decoder steps. The same chain is
applied here to bytes, token by token, which gives the bytes of every token and from them its
characters. The resulting text must equal the stored response, so a misread decoder is noticed.

Dimension names: T token, C character of the response.
"""

import json
import re
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer, decoders
from tokenizers.decoders import DecodeStream

from rosd_core.errors import RosdError

REPLACEMENT = "\ufffd".encode()


@cache
def _byte_of() -> dict[str, int]:
    """The character that byte-level BPE writes for each byte, inverted.

    Printable bytes stand for themselves; the n-th other byte is written as chr(256 + n). Source:
    GPT-2's encoder.
    """
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in printable]
    return {chr(b): b for b in printable} | {chr(256 + n): b for n, b in enumerate(others)}


def decode_bytes(raw: bytes) -> tuple[str, np.ndarray]:
    """The text of `raw` and the bytes behind each of its characters, (C,).

    Invalid UTF-8 becomes U+FFFD, one per maximal subpart. Source: The Unicode Standard, 3.9,
    "U+FFFD substitution of maximal subparts".
    """
    text = raw.decode("utf-8", "replace")
    code_C = np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32)
    width_C = 1 + (code_C >= 0x80) + (code_C >= 0x800) + (code_C >= 0x10000)
    starts_C, shift = np.cumsum(width_C) - width_C, 0
    for c in np.flatnonzero(code_C == ord("\ufffd")):  # 3 bytes if written as such, else 1 to 3
        at = int(starts_C[c]) + shift
        try:
            raw[at : at + 3].decode()
        except UnicodeDecodeError as error:
            width_C[c] = error.end
            shift += error.end - 3
    return text, width_C


def character_spans(pieces: Sequence[bytes]) -> tuple[str, np.ndarray]:
    """The text that the tokens' bytes decode to and, per token, the characters [start, end) that it
    contributes at least one byte to, (T, 2).

    Tokens that share a character both span it; a token without bytes has an empty span.
    """
    text, width_C = decode_bytes(b"".join(pieces))
    starts_C = np.cumsum(width_C) - width_C
    ends_T = np.cumsum([len(piece) for piece in pieces], dtype=np.int64)
    begins_T = np.concatenate([[0], ends_T[:-1]]).astype(np.int64)
    after_T = np.searchsorted(starts_C, ends_T, side="left")
    first_T = np.searchsorted(starts_C, begins_T, side="right") - 1
    first_T = np.where(begins_T == ends_T, after_T, first_T)
    return text, np.stack([first_T, after_T], axis=1)


def _per_token(step: dict[str, Any]) -> Callable[[str, bool, bool], str] | None:
    """A decoder step as a function of one token and whether it is the first and the last. None for
    steps that look at several tokens, and for unknown ones.
    """
    match step:
        case {"type": "Replace", "pattern": {"String": old}, "content": new}:
            return lambda token, first, last: token.replace(old, new)
        case {"type": "Metaspace", "replacement": mark, "prepend_scheme": scheme}:
            bare = scheme != "never"
            return lambda token, first, last: token.replace(mark, "" if first and bare else " ")
        case {"type": "BPEDecoder", "suffix": suffix}:
            return lambda token, first, last: token.replace(suffix, "" if last else " ")
        case {"type": "WordPiece", "prefix": prefix, "cleanup": cleanup}:
            decoder = decoders.WordPiece(prefix, cleanup)
            # the library's own step, on this token as the first or after an empty one
            return lambda token, first, last: decoder.decode([token] if first else ["", token])
        case {"type": "Strip", "content": mark, "start": start, "stop": stop}:
            strip = decoders.Strip(mark, start, stop)
            return lambda token, first, last: strip.decode([token])
        case {"type": "Join"}:
            return lambda token, first, last: token if first else " " + token
    return None


def _steps(spec: dict[str, Any] | None) -> list[dict[str, Any]]:
    """The decoder steps in order; a tokenizer without decoder joins its tokens with spaces."""
    if spec is None:
        return [{"type": "Join"}]
    if spec["type"] == "Sequence":
        return [step for part in spec["decoders"] for step in _steps(part)]
    return [spec]


def _level_bytes(token: str) -> bytes:
    """The bytes of a byte-level token; an added token outside that alphabet stands for itself."""
    try:
        return bytes(_byte_of()[c] for c in token)
    except KeyError:
        return token.encode()


def _fallback_byte(token: str) -> bytes | None:
    """The byte of a token like <0xE2>, else None."""
    hexadecimal = token[3:5] if len(token) == 6 and token[:3] == "<0x" and token[5] == ">" else ""
    return bytes.fromhex(hexadecimal) if re.fullmatch("[0-9A-Fa-f]{2}", hexadecimal) else None


class _Chain:
    """The decoder of a tokenizer, token by token: bytes in the order of the tokens.

    Supported are per-token steps, then ByteLevel, or ByteFallback, or neither, then Fuse and one
    Strip of the joined text.
    """

    def __init__(self, spec: dict[str, Any] | None) -> None:
        steps = _steps(spec)
        names = [step["type"] for step in steps]
        cut = next(
            (n for n, name in enumerate(names) if name in ("ByteLevel", "ByteFallback", "Fuse")),
            len(names),
        )
        each = [_per_token(step) for step in steps[:cut]]
        rest = steps[cut:]
        self.byte_level = bool(rest) and rest[0]["type"] == "ByteLevel"
        self.byte_fallback = bool(rest) and rest[0]["type"] == "ByteFallback"
        strips = [step for step in rest if step["type"] == "Strip"]
        self.strip = strips[0] if strips else None
        fused = self.byte_level or "Fuse" in names[cut:] or self.strip is None
        others = set(names[cut:]) - {"ByteLevel", "ByteFallback", "Fuse", "Strip"}
        self.supported = None not in each and not others and len(strips) < 2 and fused
        self.supported &= names[cut:].count("ByteLevel") + names[cut:].count("ByteFallback") < 2
        self.each = [step for step in each if step is not None]

    def token_bytes(self, token: str, first: bool, last: bool) -> bytes:
        """The bytes of one token, before bytes of several tokens are decoded together."""
        for step in self.each:
            token = step(token, first, last)
        if self.byte_level:
            return _level_bytes(token)
        byte = _fallback_byte(token) if self.byte_fallback else None
        return token.encode() if byte is None else byte


def _settle_fallback_bytes(
    pieces: list[bytes], is_byte: Sequence[bool], is_silent: Sequence[bool]
) -> None:
    """A run of fallback bytes is text if it is UTF-8 as a whole; else every byte is U+FFFD."""
    at = 0
    while at < len(pieces):
        end = at
        while end < len(pieces) and (is_byte[end] or is_silent[end]):
            end += 1
        run = b"".join(pieces[at:end])
        try:
            run.decode()
        except UnicodeDecodeError:
            pieces[at:end] = [REPLACEMENT if piece else b"" for piece in pieces[at:end]]
        at = end + 1


def _cut(pieces: list[bytes], mark: bytes, times: int, order: Sequence[int]) -> None:
    """Remove up to `times` marks from one end of the joined pieces; `order` runs from that end."""
    from_start = not order or order[0] == 0
    for t in order:
        while pieces[t]:
            here = pieces[t].startswith(mark) if from_start else pieces[t].endswith(mark)
            if not here or times == 0:
                return
            pieces[t] = pieces[t][len(mark) :] if from_start else pieces[t][: -len(mark)]
            times -= 1


class TokenMap:
    """Maps sampled ids to the characters of their text."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.special = frozenset(
            i for i, token in tokenizer.get_added_tokens_decoder().items() if token.special
        )
        self.chain = _Chain(json.loads(tokenizer.to_str())["decoder"])
        self.middle: dict[int, bytes] = {}  # bytes of an id that is neither first nor last
        self.byte_ids: set[int] = set()  # ids that are fallback bytes

    @classmethod
    def of_folder(cls, folder: Path) -> "TokenMap":
        """The map of the tokenizer of a model folder. Raises RosdError where there is none."""
        file = folder / "tokenizer.json"
        if not file.is_file():
            raise RosdError(
                f"{file}: no such file; alignment needs the sampling model's fast tokenizer."
            )
        return cls(Tokenizer.from_file(str(file)))

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids without special tokens, as the library decodes it."""
        return self.tokenizer.decode(list(ids), skip_special_tokens=True)

    def _learn(self, token_id: int) -> bytes:
        token = self._text_of(token_id)
        piece = b"" if token is None else self.chain.token_bytes(token, False, False)
        if token and self.chain.byte_fallback and _fallback_byte(token) is not None:
            self.byte_ids.add(token_id)
        return self.middle.setdefault(token_id, piece)

    def _text_of(self, token_id: int) -> str | None:
        """The token string of an id; None for special tokens and unknown ids: they have no text."""
        return None if token_id in self.special else self.tokenizer.id_to_token(token_id)

    def pieces(self, ids: Sequence[int]) -> list[bytes]:
        """The bytes of the text that each id contributes; special tokens contribute none."""
        middle = self.middle
        pieces = [middle[i] if i in middle else self._learn(i) for i in ids]
        if self.chain.each:  # some steps treat the first and the last token differently
            order = range(len(ids))
            first = next((t for t in order if self._text_of(ids[t]) is not None), None)
            last = next((t for t in reversed(order) if self._text_of(ids[t]) is not None), None)
            for t in (first, last):
                if t is not None:
                    token = self._text_of(ids[t]) or ""
                    pieces[t] = self.chain.token_bytes(token, t == first, t == last)
        if not self.byte_ids.isdisjoint(ids):
            silent = [self._text_of(i) is None for i in ids]
            _settle_fallback_bytes(pieces, [i in self.byte_ids for i in ids], silent)
        strip = self.chain.strip
        if strip is not None:
            mark = strip["content"].encode()
            _cut(pieces, mark, strip["start"], range(len(pieces)))
            _cut(pieces, mark, strip["stop"], range(len(pieces) - 1, -1, -1))
        return pieces

    def _streamed(self, ids: Sequence[int]) -> np.ndarray:
        """Spans from the library's incremental decoder, for unknown decoder chains: tokens that it
        decodes together share their characters.
        """
        stream = DecodeStream(skip_special_tokens=True)
        spans: list[tuple[int, int]] = []
        waiting = length = 0
        for token_id in ids:
            waiting += 1
            chunk = stream.step(self.tokenizer, token_id)
            if chunk is not None or token_id in self.special:
                end = length + len(chunk or "")
                spans += [(length, end)] * waiting
                length, waiting = end, 0
        return np.array(spans + [(length, length)] * waiting, dtype=np.int64).reshape(-1, 2)

    def spans(self, ids: Sequence[int], response: str) -> np.ndarray:
        """Characters [start, end) of `response` that each id contributes to, (T, 2).

        Raises RosdError where the ids do not decode to `response`.
        """
        if self.chain.supported:
            text, spans_T2 = character_spans(self.pieces(ids))
            if text == response:
                return spans_T2
        if self.decode(ids) != response:
            raise RosdError(
                "response_ids do not decode to the stored response: "
                "was the tokenizer changed since rollout?"
            )
        spans_T2 = self._streamed(ids)
        if len(spans_T2) and int(spans_T2[-1, 1]) != len(response):
            raise RosdError(
                "this tokenizer's decoder is not supported: its text does not grow token by token."
            )
        return spans_T2
