import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rosd_core.sampling.draw import BLOCK, draw, greedy, nucleus, sample, uniform

numbers = st.floats(0, 1, exclude_max=True)


def test_uniform_is_splitmix64():
    # the published first outputs of SplitMix64 with seed 0
    for step, word in ((0, 0xE220A8397B1DCDAF), (1, 0x6E789E6AA1B965F4)):
        expected = (word >> 11) * 2.0**-53
        assert uniform(np.array([0], dtype=np.uint64), step)[0] == expected


def drawn(weights, uniforms):
    """Ids and totals from the same weights for each uniform number."""
    rows = torch.tensor(weights).expand(len(uniforms), -1)
    token_B, total_B = draw(rows, torch.tensor(uniforms, dtype=torch.float64))
    return token_B.tolist(), total_B.tolist()


def test_draw_by_hand():
    # weights 2, 5, 3 of 10: cumulative 0.2, 0.7, 1.0; the first above u
    assert drawn([2.0, 5.0, 3.0], [0.0, 0.19, 0.2, 0.5, 0.7, 0.99]) == (
        [0, 0, 1, 1, 2, 2],
        [10.0] * 6,
    )
    # 256 ids of weight 1 in the first block, two in the second: u = 255.5 / 258 is still the last
    # of the first block, 256 / 258 the first of the second
    assert drawn([1.0] * (BLOCK + 2), [255.5 / 258, 256 / 258, 257 / 258])[0] == [255, 256, 257]


@given(st.lists(st.sampled_from([0.0, 1e-30, 0.3, 1.0, 7.0]), min_size=1, max_size=3), numbers)
def test_draw_never_picks_an_impossible_id(some, u):
    weights = [0.0] * 300 + some + [0.0] * 300 + [0.5] + [0.0] * 300
    for x in (u, 0.0, 1 - 2.0**-53):
        (token,), _ = drawn(weights, [x])
        assert weights[token] > 0


def test_sampling_follows_the_weights_across_blocks():
    weights = torch.rand(3 * BLOCK, generator=torch.Generator().manual_seed(0))
    even = [(n + 0.5) / 100_000 for n in range(100_000)]
    found = np.bincount(drawn(weights.tolist(), even)[0], minlength=3 * BLOCK)
    # evenly spaced numbers: each id is drawn as often as its share says, to the next integer
    assert np.abs(found - (weights / weights.sum()).numpy() * 100_000).max() < 1.01


def test_temperature_and_logprob_by_hand():
    logits = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log()
    # temperature 1/2 squares: 25, 9, 2.25, 0.25 of 36.5; cumulative 0.685, 0.932, 0.993, 1
    for u, token, weight in ((0.6, 0, 25), (0.7, 1, 9), (0.95, 2, 2.25), (0.999, 3, 0.25)):
        found, logp = sample(logits, torch.tensor([u]).double(), 0.5, 1.0)
        assert (found.item(), logp.item()) == (token, pytest.approx(math.log(weight / 36.5)))
    token, logp = greedy(logits + 3)
    assert (token.item(), logp.item()) == (0, pytest.approx(math.log(0.5), abs=1e-6))


def test_nucleus_by_hand():
    logits = torch.tensor([[0.15, 0.5, 0.05, 0.3]]).log()
    # 0.5 + 0.3 reaches 0.7: ids 1 and 3 stay, with 5/8 and 3/8
    for u, token, p in ((0.0, 1, 0.625), (0.62, 1, 0.625), (0.63, 3, 0.375), (0.99, 3, 0.375)):
        found, logp = sample(logits, torch.tensor([u]).double(), 1.0, 0.7)
        assert (found.item(), logp.item()) == (token, pytest.approx(math.log(p), abs=1e-6))
    # four ids of 1/4 each: 0.5 needs two of them, the lowest ids
    tied = torch.zeros(1, 4)
    found = [sample(tied, torch.tensor([u]).double(), 1.0, 0.5)[0].item() for u in (0.0, 0.49, 0.5)]
    assert found == [0, 0, 1]


def full_sort(logits, weights, enough):
    """The nucleus by its definition: ids by falling logit, then by rising id, until enough."""
    kept, mass = set(), 0.0
    for token in sorted(range(len(logits)), key=lambda v: (-logits[v], v)):
        if mass >= enough:
            break
        kept.add(token)
        mass += weights[token]
    return kept


def found_nucleus(logits_BV, share, most):
    weight_BV = (logits_BV - logits_BV.amax(-1, keepdim=True)).exp()
    enough_B = share * weight_BV.double().sum(-1)
    ids_BK, kept_BK, whole_B = nucleus(logits_BV, weight_BV, enough_B, most)
    sets = [
        {i for i, w in zip(ids, kept, strict=True) if w > 0}
        for ids, kept in zip(ids_BK.tolist(), kept_BK.tolist(), strict=True)
    ]
    real = [
        full_sort(logits, weights, enough)
        for logits, weights, enough in zip(
            logits_BV.tolist(), weight_BV.tolist(), enough_B.tolist(), strict=True
        )
    ]
    return sets, real, whole_B.tolist()


vocabularies = st.integers(1, 30).flatmap(
    lambda size: st.lists(
        st.lists(st.integers(-4, 2).map(float), min_size=size, max_size=size),
        min_size=1,
        max_size=4,
    )
)


@given(vocabularies, st.floats(0.01, 0.999), st.integers(1, 30))
def test_the_nucleus_is_that_of_the_full_sort(rows, share, most):
    """Few different logits, so that ties stand at the border; candidates may be too few."""
    logits_BV = torch.tensor(rows)
    sets, real, whole = found_nucleus(logits_BV, share, min(most, logits_BV.shape[1]))
    for ours, theirs, sure in zip(sets, real, whole, strict=True):
        assert ours == theirs or not sure
    sets, real, whole = found_nucleus(logits_BV, share, logits_BV.shape[1])
    assert (sets, all(whole)) == (real, True)


def test_rows_that_need_more_candidates_get_them_and_do_not_depend_on_others():
    """Peaked, flat, and with more ids tied at the border than the candidates hold."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(3, 5000, generator=generator)
    noise[0] *= 5
    noise[1] *= 0.01
    noise[2] = (noise[2] > 1).float()
    uniforms_B = torch.rand(3, generator=generator, dtype=torch.float64)
    for top_p in (0.3, 0.95, 1.0):
        together = sample(noise, uniforms_B, 0.7, top_p)
        for b in range(3):
            alone = sample(noise[b : b + 1], uniforms_B[b : b + 1], 0.7, top_p)
            assert [x.item() for x in alone] == [x[b].item() for x in together]
            weights = ((noise[b] - noise[b].max()) / 0.7).exp().double()
            kept = sorted(full_sort(noise[b].tolist(), weights.tolist(), top_p * weights.sum()))
            ends = weights[kept].cumsum(0)
            at = int(torch.searchsorted(ends, uniforms_B[b] * ends[-1], right=True))
            assert together[0][b].item() == kept[at]
            expected = (weights[kept[at]] / ends[-1]).log().item()
            assert together[1][b].item() == pytest.approx(expected, abs=1e-6)
