"""The entropy of the student, with numbers by hand."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rosd_core.losses import head
from rosd_core.losses.head import Head
from rosd_core.score.comparison import compare, entropy, likeliest


def test_the_entropy_by_hand():
    # p = (1/2, 1/4, 1/4): 1/2 ln 2 + 2/4 ln 4 = 3/2 ln 2; scaling all p by 5 changes nothing
    logits = torch.tensor([[1 / 2, 1 / 4, 1 / 4], [5 / 2, 5 / 4, 5 / 4]]).log()
    assert entropy(logits).tolist() == pytest.approx([1.5 * math.log(2)] * 2, abs=1e-6)
    # one id has everything: 0; four ids have the same: ln 4; an id that cannot occur adds nothing
    sure, even = [0.0, -1e4, -math.inf, -1e4], [7.0] * 4
    assert entropy(torch.tensor([sure, even])).tolist() == pytest.approx([0, math.log(4)])


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000), st.integers(2, 40), st.floats(0.1, 20))
def test_the_entropy_is_between_0_and_that_of_even_odds(seed, vocabulary, spread):
    g = torch.Generator().manual_seed(seed)
    found = entropy(spread * torch.randn(5, vocabulary, generator=g))
    assert (found >= 0).all() and (found <= math.log(vocabulary) + 1e-5).all()


def test_the_likeliest_ids_by_hand():
    logits = torch.tensor([[1 / 8, 1 / 2, 1 / 8, 1 / 4], [4.0, 2.0, 8.0, 2.0]]).log()
    ids, logp = likeliest(logits, logits.logsumexp(-1, keepdim=True), 2)
    assert ids.tolist() == [[1, 3], [2, 0]]
    assert logp.exp().tolist() == [[0.5, 0.25], [0.5, 0.25]]
    # as many as there are, and none if none are asked for
    assert [likeliest(logits, logits[:, :1], n)[0].shape[1] for n in (9, 0)] == [4, 0]


@pytest.mark.parametrize("size", [1, 3, 7])
def test_chunks_do_not_change_it(monkeypatch, size):
    """And it is over all ids, whatever the support."""
    monkeypatch.setattr(head, "CHUNK_ENTRIES", 1)
    monkeypatch.setitem(head.READ_ROWS, "cpu", size)
    g = torch.Generator().manual_seed(0)
    student_NH, teacher_NH = torch.randn(2, 7, 5, generator=g)
    own, theirs = Head(torch.randn(11, 5, generator=g)), Head(torch.randn(11, 5, generator=g))
    token_N = torch.arange(7)
    found = compare(student_NH, own, teacher_NH, theirs, token_N, "student", 2, 3)
    logp_NV = (student_NH @ own.matrix_VH.t()).log_softmax(-1)
    expected_N = -(logp_NV.exp() * logp_NV).sum(-1)
    assert found.entropy_N.tolist() == pytest.approx(expected_N.tolist(), abs=1e-5)
