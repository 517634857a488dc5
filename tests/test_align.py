from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from rosd_core.align import align_row, alignment_metrics, find_quote, first_token, spans_of_bytes
from rosd_core.tokens import TokenMap
from rosd_core.world import ARITHMETIC, line_spans, make_problem
from tests.conftest import ROOT

FOLDER = ROOT / "models" / "base"
TOKENIZER = Tokenizer.from_file(str(FOLDER / "tokenizer.json"))
MAP = TokenMap(FOLDER)


def test_spans_by_hand():
    # "a", " é" (three bytes, two characters), the euro sign cut in two tokens
    euro = "€".encode()
    text, spans = spans_of_bytes([b"a", " é".encode(), euro[:1], euro[1:], b""])
    assert text == "a é€"
    assert spans == [(0, 1), (1, 3), (3, 4), (3, 4), (4, 4)]
    # the quote "€" starts at 3: the token that brings its first byte is number 2
    assert first_token(spans, 3) == 2


def test_the_space_before_a_word_belongs_to_the_words_token():
    # "it is 5": tokens "it", " is", " ", "5"; the quote "is 5" starts at character 3, inside " is".
    # Encoding the prefix "it " again gives two tokens, so published code starts at index 2: late.
    spans = [(0, 2), (2, 5), (5, 6), (6, 7)]
    assert first_token(spans, 3) == 1


def test_a_token_without_text_is_not_the_first():
    assert first_token([(0, 0), (0, 1), (1, 1)], 0) == 1
    assert first_token([(0, 1), (1, 1)], 1) == 2  # nothing follows: the span is empty


@st.composite
def sampled(draw):
    """A solution as ids that need not be canonical: cut anywhere, encoded in pieces."""
    problem = make_problem(draw(st.integers(0, 999)), draw(st.sampled_from(ARITHMETIC)), "train", 0)
    text = problem.solution
    cuts = sorted(draw(st.sets(st.integers(1, len(text) - 1), max_size=8)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    return text, [i for piece in pieces for i in TOKENIZER.encode(piece).ids]


@settings(max_examples=300)
@given(sampled(), st.data())
def test_exact_on_the_pocket_tokenizer_for_any_segmentation(case, data):
    text, ids = case
    spans = MAP.spans(ids, text)
    for t, (start, end) in enumerate(spans):  # every decoded prefix agrees with the map
        assert MAP.decode(ids[:t]) == text[:start]
        assert MAP.decode(ids[: t + 1]) == text[:end]
    start, end = data.draw(st.sampled_from(list(line_spans(text))))
    first = first_token(spans, start)
    assert len(MAP.decode(ids[:first])) <= start < len(MAP.decode(ids[: first + 1]))


def test_tokenizers_that_are_not_byte_level_go_by_decoded_prefixes(tmp_path):
    from tokenizers import decoders, models, pre_tokenizers

    pieces = {"▁it": 0, "▁is": 1, "▁5": 2, "<unk>": 3}
    tokenizer = Tokenizer(models.WordLevel(pieces, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    # decoded prefixes: "it", "it is", "it is 5"
    assert TokenMap(tmp_path).spans([0, 1, 2], "it is 5") == [(0, 2), (2, 5), (5, 7)]


def test_find_quote_counts_every_place():
    assert find_quote("aa", "baaa") == ((1, 3), 2)
    assert find_quote("x", "baaa") == (None, 0)


ROLLOUT = {"rollout_id": "p/0", "problem_id": "p", "response": "1+1=3", "response_ids": [1, 2, 3]}
SPANS = [(0, 3), (3, 4), (4, 5)]


def reflection(**changes):
    usual = {"kind": "wrong", "status": "ok", "skip_reason": None, "quote": "=3"}
    return usual | changes


def test_eligibility_is_decided_by_status_kind_and_match():
    def align(policy="drop", **changes):
        row = align_row(reflection(**changes), ROLLOUT, SPANS, policy)
        return row["status"], row["first_token"], row["policy"], row["skip_reason"]

    assert align() == ("supervised", 1, "quote", None)
    assert align(kind="correct", quote=None) == ("supervised", 0, "all", None)
    assert align(quote="=4") == ("skipped", None, "drop", "quote_not_found")
    assert align("whole", quote="=4") == ("supervised", 0, "whole", None)
    assert align(status="no_idea") == ("skipped", None, "drop", "no_idea")
    skipped = align(status="skipped", skip_reason="no_success")
    assert skipped == ("skipped", None, "drop", "no_success")


def test_metrics_count_found_and_exact():
    rows = [align_row(reflection(), ROLLOUT, SPANS, "drop")]
    rows.append(align_row(reflection(quote="no"), ROLLOUT | {"rollout_id": "p/1"}, SPANS, "drop"))
    metrics = alignment_metrics(rows, {"p/0": (3, 5), "p/1": (0, 5)})
    assert metrics["quote_found_share"] == 0.5
    assert metrics["quote_exact_share"] == 0.5
    assert metrics["supervised_token_share"] == 2 / 6  # tokens 1 and 2 of the first of two rows
