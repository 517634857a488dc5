import math

import numpy as np
import pytest
import torch

from rosd_core.errors import RosdError
from rosd_core.sampling.draw import draw, sampling_logp, uniform
from rosd_core.sampling.engine import Decoding, Request
from rosd_core.sampling.transformers_engine import TransformersEngine

SAMPLE = Decoding(1.0, 1.0, 12)


def make_engine(tiny, batch_rows=64):
    return TransformersEngine(tiny, [2], 0, batch_rows)


def requests(count=10):
    """Prompts of different lengths, each used twice with different seeds."""
    rng = np.random.default_rng(0)
    rows = []
    for n in range(count):
        prompt = rng.integers(3, 300, 3 + n).tolist()
        rows += [Request(f"{n}/{g}", prompt, 1000 * n + g) for g in range(2)]
    return rows


def test_uniform_is_splitmix64():
    # the published first outputs of SplitMix64 with seed 0
    for step, word in ((0, 0xE220A8397B1DCDAF), (1, 0x6E789E6AA1B965F4)):
        expected = (word >> 11) * 2.0**-53
        assert uniform(np.array([0], dtype=np.uint64), step)[0] == expected


def test_draw_by_hand():
    logp = torch.tensor([0.2, 0.5, 0.3]).log().expand(4, 3)
    # cumulative 0.2, 0.7, 1.0: the first id whose cumulative probability exceeds u
    assert draw(logp, torch.tensor([0.0, 0.19, 0.5, 0.99]).double()).tolist() == [0, 0, 1, 2]


def test_draw_never_picks_an_impossible_id():
    logp = torch.tensor([[0.0, 1.0, 0.0]]).log()
    for u in (0.0, 0.5, 1 - 2**-53):
        assert draw(logp, torch.tensor([u], dtype=torch.float64)).item() == 1


def test_nucleus_by_hand():
    logits = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log()
    # 0.5 + 0.3 reaches 0.7, so two ids stay: 5/8 and 3/8
    kept = sampling_logp(logits, 1.0, 0.7).exp()[0].tolist()
    assert kept == pytest.approx([0.625, 0.375, 0, 0])
    # temperature 1/2 squares: 25, 9, 2.25, 0.25 of 36.5
    sharp = sampling_logp(logits, 0.5, 1.0).exp()[0].tolist()
    assert sharp == pytest.approx([25 / 36.5, 9 / 36.5, 2.25 / 36.5, 0.25 / 36.5], rel=1e-5)


def test_rows_do_not_depend_on_batch_size_or_order(tiny):
    rows = requests()
    whole = make_engine(tiny).generate(rows, SAMPLE)
    for size in (1, 3, 7):
        assert [c.token_ids for c in make_engine(tiny, size).generate(rows, SAMPLE)] == [
            c.token_ids for c in whole
        ]
    turned = make_engine(tiny, 4).generate(rows[::-1], SAMPLE)
    assert [c.token_ids for c in turned[::-1]] == [c.token_ids for c in whole]
    assert len({tuple(c.token_ids) for c in whole}) > 10  # and seeds do matter


def test_behaviour_logprobs_are_those_of_the_plain_forward_pass(tiny):
    rows = requests()
    for request, completion in zip(rows, make_engine(tiny).generate(rows, SAMPLE), strict=True):
        ids = torch.tensor([[*request.prompt_ids, *completion.token_ids]])
        with torch.inference_mode():
            logp = tiny(ids).logits[0].log_softmax(-1)
        at = len(request.prompt_ids) - 1
        for t, (token, logprob) in enumerate(
            zip(completion.token_ids, completion.logprobs, strict=True)
        ):
            assert logprob == pytest.approx(logp[at + t, token].item(), abs=2e-5)


def test_both_logprobs_at_another_temperature(tiny):
    """Sampled from softmax(z / 0.5) within the nucleus of 0.8; the model itself has softmax(z)."""
    rows = requests(6)
    for request, completion in zip(
        rows, make_engine(tiny).generate(rows, Decoding(0.5, 0.8, 8)), strict=True
    ):
        ids = torch.tensor([[*request.prompt_ids, *completion.token_ids]])
        with torch.inference_mode():
            logits = tiny(ids).logits[0, len(request.prompt_ids) - 1 : -1]
        for t, token in enumerate(completion.token_ids):
            probabilities, order = (logits[t] / 0.5).softmax(-1).sort(descending=True)
            size = int((probabilities.cumsum(-1) < 0.8).sum()) + 1
            inside = dict(zip(order[:size].tolist(), probabilities[:size].tolist(), strict=True))
            expected = math.log(inside[token] / sum(inside.values()))
            assert completion.logprobs[t] == pytest.approx(expected, abs=1e-4)
            plain = logits[t].log_softmax(-1)[token].item()
            assert completion.model_logprobs[t] == pytest.approx(plain, abs=2e-5)


def test_greedy_is_that_of_transformers(tiny):
    rows = requests(5)
    ours = make_engine(tiny).generate(rows, Decoding(0.0, 1.0, 12))
    for request, completion in zip(rows, ours, strict=True):
        theirs = tiny.generate(
            torch.tensor([list(request.prompt_ids)]), do_sample=False, max_new_tokens=12,
            eos_token_id=2, pad_token_id=0,
        )  # fmt: skip
        assert completion.token_ids == theirs[0, len(request.prompt_ids) :].tolist()


def test_sampling_follows_the_distribution(tiny):
    prompt = [5, 6, 7]
    rows = [Request(str(n), prompt, n) for n in range(4000)]
    first = [c.token_ids[0] for c in make_engine(tiny, 4000).generate(rows, Decoding(1.0, 1.0, 1))]
    with torch.inference_mode():
        p = tiny(torch.tensor([prompt])).logits[0, -1].softmax(-1)
    for token in p.topk(3).indices.tolist():
        expected = p[token].item()
        sigma = math.sqrt(expected * (1 - expected) / 4000)
        assert abs(first.count(token) / 4000 - expected) < 5 * sigma


def test_a_sliding_window_model_takes_the_dynamic_cache_and_is_right_too(tokenizer):
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(0)
    model = Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, intermediate_size=64, use_sliding_window=True,
            sliding_window=4, max_window_layers=0,
        )
    ).eval()  # fmt: skip
    rows = requests(4)
    for request, completion in zip(rows, make_engine(model).generate(rows, SAMPLE), strict=True):
        ids = torch.tensor([[*request.prompt_ids, *completion.token_ids]])
        with torch.inference_mode():
            logp = model(ids).logits[0].log_softmax(-1)
        at = len(request.prompt_ids) - 1
        logprobs = torch.tensor(completion.logprobs)
        real = logp[range(at, at + len(logprobs)), completion.token_ids]
        assert torch.allclose(logprobs, real, atol=2e-5)


def test_a_prompt_beyond_the_context_is_named(tiny):
    with pytest.raises(RosdError, match=r"row x: a prompt of 120 tokens .* the model has 128"):
        make_engine(tiny).generate([Request("x", [5] * 120, 0)], SAMPLE)


def test_rows_end_at_the_stop_token_or_at_the_limit(tiny):
    for completion in make_engine(tiny).generate(requests(40), Decoding(1.0, 1.0, 40)):
        stopped = completion.token_ids[-1] == 2
        assert completion.finish_reason == ("stop" if stopped else "length")
        assert 2 not in completion.token_ids[:-1]
        assert stopped or len(completion.token_ids) == 40
