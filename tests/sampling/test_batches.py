from hypothesis import given
from hypothesis import strategies as st

from rosd_core.sampling.batches import decode_batches

tokens = st.integers(0, 3)
prompt_lists = st.lists(st.lists(tokens, min_size=1, max_size=40), min_size=1, max_size=30)


def test_batches_by_hand():
    prompts = [[7] * 10, [7] * 2, [7] * 10, [8] * 3]
    # in order of length 2, 3, 10, 10; with 2 new tokens rows take 4, 5, 12 and 12 slots:
    # 2 x (3 + 2) = 10 fits 24, 3 x 12 does not; 2 x 12 does
    assert list(decode_batches(prompts, 2, 24)) == [[1, 3], [0, 2]]
    # equal prompts are neighbours, although a row of the same length stands between them
    assert list(decode_batches([[5], [6], [5]], 1, 4)) == [[0, 2], [1]]
    assert list(decode_batches([[7] * 10, [8] * 9], 5, 1)) == [[1], [0]]  # at least one row


@given(prompt_lists, st.integers(1, 20), st.integers(1, 300))
def test_every_row_is_in_one_batch_within_the_bound(prompts, max_new, most):
    batches = list(decode_batches(prompts, max_new, most))
    assert sorted(n for batch in batches for n in batch) == list(range(len(prompts)))
    for batch in batches:
        slots = len(batch) * (max(len(prompts[n]) for n in batch) + max_new)
        assert slots <= most or len(batch) == 1
