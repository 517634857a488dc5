"""The rules of `rosd init`, with numbers derived by hand."""

import pytest

from rosd_core.errors import RosdError
from rosd_core.project.choose import (
    batch_choices,
    length_choices,
    reflection_choices,
    rollout_tokens,
    sampling_choices,
    shot_count,
    split_sizes,
    step_choices,
)
from rosd_core.project.choose import test_choice as choose_test
from rosd_core.project.choose import values_of as values
from rosd_core.project.facts import Lengths, ModelFacts, share_at_most

SMOL = ModelFacts(
    parameters=134_515_008, layers=30, hidden=576, intermediate=1536, kv_width=192,
    context=8192,
)  # fmt: skip
LENGTHS = Lengths(prompts=[100, 130, 90], solutions=[10] * 19 + [500], reflection=60, idea=7)


def test_lengths_fit_the_data():
    found = values(length_choices(LENGTHS, SMOL, "cpu", None))
    # 130 up to a multiple of 32; the 95th percentile of 20 solutions is the 19th: 10, twice is 20
    assert found["rollout.max_prompt_tokens"] == 160
    assert found["rollout.max_new_tokens"] == 32
    # 160 + 2 x 32 + 60 = 284, up to 288; the teacher: 160 + max(160, 32) + 7 = 327, up to 352
    assert found["reflect.max_prompt_tokens"] == 288
    assert found["reflect.max_new_tokens"] == 160
    assert found["score.max_prompt_tokens"] == 352
    assert found["evaluate.max_prompt_tokens"] == 160


def test_a_short_context_is_refused_with_the_numbers():
    small = ModelFacts(**{**SMOL.__dict__, "context": 256})
    with pytest.raises(RosdError, match=r"context of 256 tokens.*need 448"):  # 288 + 160
        length_choices(LENGTHS, small, "cpu", None)
    shorter = values(length_choices(LENGTHS, SMOL, "cpu", 16))
    assert shorter["rollout.max_new_tokens"] == 16


def test_without_solutions_the_response_has_the_most_that_is_allowed():
    unknown = Lengths(prompts=[10], solutions=None, reflection=60, idea=7)
    assert values(length_choices(unknown, SMOL, "cpu", None))["rollout.max_new_tokens"] == 256
    found = length_choices(unknown, SMOL, "cuda", 512)
    assert values(found)["reflect.max_new_tokens"] == 512


def test_batches_are_bounded_by_memory_and_hold_a_row():
    # keys and values: 2 x 30 x 192 x 4 = 46080 B a token; a quarter of 8 GiB holds 46603, so 32768
    assert SMOL.cache_bytes == 46080
    lengths = length_choices(LENGTHS, SMOL, "cpu", None)
    found = values(batch_choices(lengths, SMOL, 8 * 2**30))
    assert found["rollout.batch_tokens"] == 32768
    # 16 B x 134515008 = 2.15 GB; activations: 4 x 30 x (12 x 576 + 4 x 1536) = 1566720 B a token;
    # half of (8.59 - 2.15) GB holds 2054 tokens, so 2048
    assert SMOL.activation_bytes == 1566720
    assert found["distill.batch_tokens"] == 2048
    # no memory left at all: still the longest row, 352 + 32
    assert values(batch_choices(lengths, SMOL, 2**30))["distill.batch_tokens"] == 384


def test_problems_are_as_many_as_the_time_allows():
    lengths = length_choices(LENGTHS, SMOL, "cpu", None)
    # rollout and distill: 4 x (160 / 4 + 16) = 224; reflect 288 + 160; score 160 + 16 + 352 + 16
    assert rollout_tokens(lengths) == 224 + 448 + 544
    # 2 x 134515008 x 1216 = 3.27e11 operations a rollout; 15 minutes at 20 GFLOP/s pay for 55: 13
    # groups of 4
    found = values(step_choices(400, lengths, SMOL, 20e9, 15))
    assert found["rollout.group_size"] == 4
    assert found["rollout.problems"] == 13
    # 52 rows: 52 / 8 = 6 a step, but 8 is the least
    assert found["distill.rows_per_step"] == 8
    assert found["distill.warmup_steps"] == 10
    assert found["distill.learning_rate"] == 2e-5  # 1e-5 x sqrt(4e9 / 1.345e8) = 5.45e-5, capped
    # ten times as fast: 550 rollouts, 68 groups of 8
    faster = values(step_choices(400, lengths, SMOL, 200e9, 15))
    assert (faster["rollout.group_size"], faster["rollout.problems"]) == (8, 68)
    assert faster["distill.rows_per_step"] == 64  # 544 / 8 = 68, down to a power of two
    assert values(step_choices(12, lengths, SMOL, 200e9, 15))["rollout.problems"] == 12


def test_the_evaluation_takes_half_of_the_time_of_an_iteration():
    lengths = length_choices(LENGTHS, SMOL, "cpu", None)
    # 160 + 2 samples of 16 tokens: 2 x 134515008 x 192 = 5.17e10 operations a problem; half of 15
    # minutes at 5 GFLOP/s is 2.25e12: 43 problems, in 43 x 5.17e10 / 5e9 = 444 s
    found = choose_test("k", 64, lengths, SMOL, (5e9, 15))
    assert (found.key, found.value) == ("k", 43)
    assert "about 7 minutes" in found.why
    assert choose_test("k", 20, lengths, SMOL, (5e9, 15)).value == 20
    assert choose_test("k", 64, lengths, SMOL, (5e9, 0.1)).value == 8


def test_small_models_are_helped_and_large_ones_are_not():
    large = ModelFacts(**{**SMOL.__dict__, "parameters": 4_000_000_000})
    assert values(reflection_choices(SMOL))["reflect.contract"] == "forced"
    assert values(reflection_choices(large))["reflect.contract"] == "free"
    assert sampling_choices(SMOL)[0].value == 0.7
    assert sampling_choices(large)[0].value == 1.0
    assert shot_count(None, SMOL, solved=True)[0] == 3
    assert "answer alone" in shot_count(None, SMOL, solved=False)[1]
    assert shot_count(None, large, solved=True)[0] == 0
    assert shot_count(5, large, solved=True)[0] == 5


def test_the_test_split():
    assert split_sizes(1000, has_test=False, device="cpu") == 64
    assert split_sizes(50, has_test=False, device="cpu") == 10
    assert split_sizes(50, has_test=True, device="cuda") == 256


def test_shares():
    assert share_at_most([5, 1, 3, 2, 4], 0.8) == 4
    assert share_at_most([7], 0.95) == 7
