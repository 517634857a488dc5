import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rosd_core.sampling.batches import prefix_groups, prefix_packs
from rosd_core.sampling.prefill import prefill

SHARED = [[5, 6, 7, 8, n, *range(20, 20 + n)] for n in range(9, 13)]  # 4 tokens in common
OTHERS = [[5, 6, 7, 8], [9] * 12, [9] * 11 + [4, 4], [30]]


def last_logits(model, prompt):
    with torch.no_grad():
        return model(torch.tensor([prompt])).logits[0, -1]


@pytest.mark.parametrize("most", [1, 20, 4096, None])
def test_prompts_give_the_logits_and_the_cache_of_the_plain_forward_pass(tiny, monkeypatch, most):
    """In packs of at most so many tokens; None: padded, for models that cannot be packed."""
    if most is None:
        monkeypatch.setattr("rosd_core.sampling.prefill.can_pack", lambda model: False)
    else:
        monkeypatch.setattr("rosd_core.sampling.prefill.PACK_TOKENS", most)
    prompts = [*SHARED, *OTHERS, SHARED[1]]
    with torch.no_grad():
        filled = prefill(tiny, prompts, 3, 0)
        token_B = torch.arange(3, 3 + len(prompts))
        mask_BT = torch.cat([filled.mask_BT, torch.ones(len(prompts), 1, dtype=torch.long)], 1)
        after = tiny(
            input_ids=token_B.unsqueeze(1), attention_mask=mask_BT,
            position_ids=mask_BT.sum(-1, keepdim=True) - 1, past_key_values=filled.cache,
        ).logits[:, -1]  # fmt: skip
    for b, prompt in enumerate(prompts):
        assert torch.allclose(filled.logits_BV[b], last_logits(tiny, prompt), atol=1e-5)
        assert torch.allclose(after[b], last_logits(tiny, [*prompt, 3 + b]), atol=1e-5)


def test_groups_by_hand():
    # a prefix of 4 tokens for three prompts saves 8, and [9] is alone with its one token
    assert prefix_groups([[1, 2, 3, 4, 5], [1, 2, 3, 4, 6], [1, 2, 3, 4, 7, 7], [9]]) == [
        (0, 3, 4),
        (3, 4, 1),
    ]
    # one group of four shares [1], which saves 3 x 1; two groups share [1, 2, 3] and [1], which
    # saves 3 + 1
    assert prefix_groups([[1, 2, 3, 4], [1, 2, 3, 5], [1, 7], [1, 8]]) == [(0, 2, 3), (2, 4, 1)]


def tokens(prompts, groups):
    return sum(p + sum(len(prompts[n]) - p for n in range(a, b)) for a, b, p in groups)


def least(prompts):
    """The fewest tokens over every way to cut the list."""
    best = [0]
    for end in range(1, len(prompts) + 1):
        costs = []
        for first in range(end):
            columns = zip(*prompts[first:end], strict=False)
            common = next((n for n, c in enumerate(columns) if len(set(c)) > 1), None)
            prefix = min(map(len, prompts[first:end])) if common is None else common
            costs.append(best[first] + tokens(prompts, [(first, end, prefix)]))
        best.append(min(costs))
    return best[-1]


prompt_sets = st.sets(
    st.lists(st.integers(0, 2), min_size=1, max_size=8).map(tuple), min_size=1, max_size=12
)


@given(prompt_sets, st.integers(1, 30))
def test_groups_cover_the_prompts_with_the_fewest_tokens_and_packs_keep_the_bound(prompts, most):
    prompts = sorted(prompts)
    groups = prefix_groups(prompts)
    assert [n for a, b, _ in groups for n in range(a, b)] == list(range(len(prompts)))
    for first, end, prefix in groups:
        assert len({prompt[:prefix] for prompt in prompts[first:end]}) == 1
    assert tokens(prompts, groups) == least(prompts)
    packs = list(prefix_packs(prompts, groups, most))
    assert [n for p in packs for a, b, _ in p for n in range(a, b)] == list(range(len(prompts)))
    for groups in packs:
        alone = sum(b - a for a, b, _ in groups) == 1
        assert tokens(prompts, groups) <= most or alone
