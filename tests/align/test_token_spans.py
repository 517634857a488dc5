"""Every family of tokenizers, any sequence of ids: the map agrees with the library's decoding."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    trainers,
)  # fmt: skip

from rosd_core.align.mask import token_range
from rosd_core.align.token_spans import TokenMap, character_spans, decode_bytes
from rosd_core.errors import RosdError

TEXTS = [
    "The café has 25 tables, each seats 4: 25*4=100 people. Naïve façade, déjà vu.",
    "Schritt 1: 37+25=62. Schritt 2: 62-18=44. Antwort: 44 – fertig!",
    "x^2 + y^2 = z^2, so \\frac{1}{2} < 3/4 and 5 × 3 = 15.",
    "日本語の文章です。答えは四十四。 温度は 25℃。",
    "🙂👍🏽 great 👨‍👩‍👧 family; e\u0301 is e with an accent.\n\n\tindented\r\n",
    "don't do that. It's not , well ... ok ? yes ! I'm \"quoted\" `code`",
]
SPECIAL = ["<unk>", "<s>", "</s>"]
BYTES = [f"<0x{b:02X}>" for b in range(256)]


def byte_level() -> Tokenizer:
    """GPT-2, Llama 3, Qwen."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=420,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(TEXTS, trainer)
    return made


def sentencepiece_bpe() -> Tokenizer:
    """Llama 2, Mistral: byte fallback, the first space is dropped."""
    made = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    made.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    made.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=380, special_tokens=[*SPECIAL, *BYTES], show_progress=False
    )
    made.train_from_iterator(TEXTS[:3], trainer)
    return made


def sentencepiece_bpe_bare() -> Tokenizer:
    """Gemma: byte fallback, every space stays."""
    made = sentencepiece_bpe()
    made.normalizer = normalizers.Replace(" ", "▁")
    made.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    return made


def unigram() -> Tokenizer:
    """T5, XLM-R."""
    made = Tokenizer(models.Unigram())
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=300, special_tokens=SPECIAL, unk_token="<unk>", show_progress=False
    )
    made.train_from_iterator(TEXTS * 4, trainer)
    return made


def word_piece() -> Tokenizer:
    """BERT: a decoder that cleans up spaces."""
    made = Tokenizer(models.WordPiece(unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(vocab_size=300, special_tokens=SPECIAL, show_progress=False)
    made.train_from_iterator(TEXTS, trainer)
    return made


def suffix_bpe() -> Tokenizer:
    """GPT-1, XLM: the end of a word is marked."""
    made = Tokenizer(models.BPE(unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.decoder = decoders.BPEDecoder()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=SPECIAL, end_of_word_suffix="</w>", show_progress=False
    )
    made.train_from_iterator(TEXTS, trainer)
    return made


def word_level() -> Tokenizer:
    """No decoder at all: tokens are joined with spaces."""
    made = Tokenizer(models.WordLevel(unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.WordLevelTrainer(vocab_size=200, special_tokens=SPECIAL, show_progress=False)
    made.train_from_iterator(TEXTS, trainer)
    return made


MAKERS = (
    byte_level,
    sentencepiece_bpe,
    sentencepiece_bpe_bare,
    unigram,
    word_piece,
    suffix_bpe,
    word_level,
)


@pytest.fixture(scope="module", params=MAKERS, ids=lambda make: make.__name__)
def token_map(request) -> TokenMap:
    """A tokenizer of each family, with special and added tokens that may stand in a response."""
    made = request.param()
    made.add_special_tokens([AddedToken("<|im_end|>", special=True)])
    made.add_tokens([AddedToken("<think>", special=False), AddedToken("é~ x", special=False)])
    return TokenMap(made)


@st.composite
def sampled(draw, token_map: TokenMap):
    """Ids as they could be sampled: pieces of encoded text, cut anywhere, and any ids between."""
    ids: list[int] = []
    for _ in range(draw(st.integers(0, 3))):
        if draw(st.booleans()):
            text = draw(st.sampled_from(TEXTS))
            start = draw(st.integers(0, len(text)))
            piece = text[start : start + draw(st.integers(0, 12))]
            ids += token_map.tokenizer.encode(piece, add_special_tokens=False).ids
        else:
            size = token_map.tokenizer.get_vocab_size()
            ids += draw(st.lists(st.integers(0, size - 1), max_size=6))
    return ids


def check(token_map: TokenMap, ids: list[int]) -> None:
    """No span may disagree with what the library makes of any prefix of the ids."""
    text = token_map.decode(ids)
    found, spans = character_spans(token_map.pieces(ids))
    assert found == text  # the decoder chain is understood, not streamed
    assert (token_map.spans(ids, text) == spans).all()
    assert (spans[1:, 0] <= spans[:-1, 1]).all()
    assert (spans[1:, 0] >= spans[:-1, 1] - 1).all()  # at most one character is shared
    for t in range(len(ids) + 1):
        prefix, end = token_map.decode(ids[:t]), int(spans[t - 1, 1]) if t else 0
        whole = prefix.rstrip("\ufffd")
        assert text.startswith(whole)
        if whole == prefix:  # it ends between two characters: this boundary is known exactly
            # a suffix decoder writes the space after a word only once another token follows
            assert end - (text[end - 1 : end] == " ") <= len(prefix) <= end
            if t < len(ids) and spans[t, 1] > spans[t, 0]:
                assert spans[t, 0] == end


FAST = settings(
    max_examples=5 * settings().max_examples,  # 500, or 50 in the profile `fast`
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@FAST
@given(st.data())
def test_the_map_agrees_with_every_decoded_prefix(token_map, data):
    check(token_map, data.draw(sampled(token_map)))


@pytest.mark.slow
@settings(FAST, max_examples=15_000)
@given(st.data())
def test_the_map_agrees_with_every_decoded_prefix_100000_cases(token_map, data):
    check(token_map, data.draw(sampled(token_map)))


@FAST
@given(st.data())
def test_the_first_token_is_the_first_that_brings_a_byte(token_map, data):
    ids = data.draw(sampled(token_map))
    pieces = token_map.pieces(ids)
    text, spans = character_spans(pieces)
    if not text:
        return
    char = data.draw(st.integers(0, len(text) - 1))
    _, widths = decode_bytes(b"".join(pieces))
    begin = int(widths[:char].sum())  # bytes before the character
    ends = [sum(len(p) for p in pieces[: t + 1]) for t in range(len(pieces))]
    by_hand = next(t for t, end in enumerate(ends) if end > begin)
    assert token_range(spans, (char, char + 1))[0] == by_hand


@given(st.binary(max_size=40))
def test_bytes_behind_characters_add_up(raw):
    text, widths = decode_bytes(raw)
    assert text == raw.decode("utf-8", "replace")
    assert widths.sum() == len(raw)


def test_what_is_no_utf8_by_hand():
    # F0 9F 98 (a cut emoji) is one maximal subpart; FF is another; U+FFFD itself has three bytes
    text, widths = decode_bytes(b"\xf0\x9f\x98\xff" + "\ufffdé".encode())
    assert text == "\ufffd\ufffd\ufffdé"
    assert widths.tolist() == [3, 1, 3, 2]


def test_a_decoder_that_is_not_known_is_followed_step_by_step():
    made = unigram()
    made.decoder = decoders.Replace(Regex("▁"), " ")
    token_map = TokenMap(made)
    assert not token_map.chain.supported
    ids = made.encode("it seats 4").ids
    text = token_map.decode(ids)
    spans = token_map.spans(ids, text)
    for t, (_, end) in enumerate(spans.tolist()):
        assert text[:end] == token_map.decode(ids[: t + 1])


def test_another_tokenizers_ids_are_refused(tmp_path):
    token_map = TokenMap(byte_level())
    with pytest.raises(RosdError, match="do not decode to the stored response"):
        token_map.spans(token_map.tokenizer.encode("a").ids, "b")
    with pytest.raises(RosdError, match="no such file"):
        TokenMap.of_folder(tmp_path)
