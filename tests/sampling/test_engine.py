import math

import numpy as np
import pytest
import torch

from rosd_core.errors import RosdError
from rosd_core.sampling.engine import Decoding, Request
from rosd_core.sampling.transformers_engine import TransformersEngine

SAMPLE = Decoding(1.0, 1.0, 12)


def make_engine(tiny, batch_tokens=1500):
    return TransformersEngine(tiny, [2], 0, batch_tokens)


def requests(count=10):
    """Prompts of different lengths, each used twice with different seeds."""
    rng = np.random.default_rng(0)
    rows = []
    for n in range(count):
        prompt = rng.integers(3, 300, 3 + n).tolist()
        rows += [Request(f"{n}/{g}", prompt, 1000 * n + g) for g in range(2)]
    return rows


def test_rows_do_not_depend_on_batch_size_or_order(tiny):
    rows = requests()
    whole = make_engine(tiny).generate(rows, SAMPLE)
    for size in (1, 50, 130):  # one row, 2 to 3 rows, 5 to 8 rows of 15 to 24 slots
        assert [c.token_ids for c in make_engine(tiny, size).generate(rows, SAMPLE)] == [
            c.token_ids for c in whole
        ]
    turned = make_engine(tiny, 80).generate(rows[::-1], SAMPLE)
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
        rows, make_engine(tiny).generate(rows, Decoding(0.5, 0.8, 8, True)), strict=True
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
    first = [c.token_ids[0] for c in make_engine(tiny, 16000).generate(rows, Decoding(1.0, 1.0, 1))]
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
