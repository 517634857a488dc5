import pytest
import torch

from rosd_core.errors import RosdError
from rosd_core.sampling.decoder import open_decoder
from rosd_core.sampling.engine import Decoding, Request
from rosd_core.sampling.prefill import prefill
from rosd_core.sampling.transformers_engine import TransformersEngine

SIZES = {
    "vocab_size": 300, "hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 6,
    "num_key_value_heads": 2, "head_dim": 8, "intermediate_size": 48,
    "max_position_embeddings": 128,
}  # fmt: skip
PROMPTS = [[5, 6, 7, 8, n, *range(20, 20 + n)] for n in range(9, 13)] + [[5, 6], [9] * 12, [9]]


def spread(model):
    """Weights large enough that the distributions are far from flat, norms and biases too."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.mul_(4) if parameter.dim() > 1 else parameter.add_(noise, alpha=0.3)
    return model.eval()


def make(kind, **more):
    import transformers

    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(**SIZES | more)
    return spread(transformers.AutoModelForCausalLM.from_config(config))


PLAIN = {
    "qwen3": ("Qwen3", {}),
    "llama, tied head": ("Llama", {"tie_word_embeddings": True}),
    "llama, biases": ("Llama", {"attention_bias": True}),
    "llama 3, scaled positions": ("Llama", {"rope_parameters": {
        "rope_type": "llama3", "rope_theta": 1e4, "factor": 8.0, "low_freq_factor": 1.0,
        "high_freq_factor": 4.0, "original_max_position_embeddings": 16}}),
    "qwen2": ("Qwen2", {}),
    "mistral": ("Mistral", {"sliding_window": None}),
}  # fmt: skip


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize(("copied_bytes", "shared_from"), [(1 << 30, 2), (0, 2), (1 << 30, 1)])
def test_logits_are_those_of_the_plain_forward_pass(name, copied_bytes, shared_from, monkeypatch):
    """After prompts of different lengths, of which some begin alike and one stands twice; then
    after one and two more tokens, with fewer rows at the end. With weights in either layout, and
    with prompts that are kept once or for every row.
    """
    monkeypatch.setattr("rosd_core.sampling.decoder.COPIED_BYTES", copied_bytes)
    monkeypatch.setattr("rosd_core.sampling.prefill.ROWS_OF_SHARED", shared_from)
    model = make(PLAIN[name][0], **PLAIN[name][1])
    rows = [list(prompt) for prompt in [*PROMPTS, PROMPTS[1]]]
    with torch.inference_mode():
        decoder = open_decoder(model)
        assert decoder is not None
        filled = prefill(model, rows, 3, 0, decoder)
        mask_BT, logits_BV = filled.mask_BT, filled.logits_BV
        for step in range(3):
            real = torch.stack([model(torch.tensor([row])).logits[0, -1] for row in rows])
            assert torch.allclose(logits_BV, real, atol=1e-5 * real.abs().max().item())
            if step == 1:
                keep = torch.tensor([0, 1, 3, 6, 7])
                filled.cache.batch_select_indices(keep)
                rows, mask_BT = [rows[b] for b in keep.tolist()], mask_BT[keep]
            token_B = torch.arange(3 + step, 3 + step + len(rows))
            rows = [[*row, token] for row, token in zip(rows, token_B.tolist(), strict=True)]
            if step < 2:
                mask_BT = torch.cat([mask_BT, mask_BT.new_ones(len(rows), 1)], 1)
                logits_BV = decoder.step(token_B, mask_BT, filled.cache)


OTHERS = {
    "the same modules without positions in some layers": (
        "SmolLM3",
        {"no_rope_layers": [0, 1], "pad_token_id": 0},
    ),
    "another structure": ("GPT2", {"n_positions": 128}),
    "a window": ("Mistral", {"sliding_window": 4}),
    "further norms": ("Gemma2", {}),
    "the same modules with a factor": ("Granite", {"residual_multiplier": 0.5}),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_models_are_left_to_transformers(name):
    for autocast in ("none", "bfloat16"):
        assert open_decoder(make(OTHERS[name][0], **OTHERS[name][1]), autocast=autocast) is None


def test_a_cpu_without_products_in_bfloat16_is_named(monkeypatch):
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
    with pytest.raises(RosdError, match="this CPU has no bf16 products: set autocast none"):
        open_decoder(make("Qwen3"), autocast="bfloat16")


def test_so_are_adapters_and_other_precisions():
    peft = pytest.importorskip("peft")
    assert open_decoder(make("Qwen3").double()) is None
    adapted = peft.get_peft_model(
        make("Qwen3"), peft.LoraConfig(target_modules=["q_proj", "up_proj"], r=2)
    )
    assert open_decoder(adapted) is None  # pyright: ignore[reportArgumentType]
    assert open_decoder(adapted.base_model.model) is None  # pyright: ignore


@pytest.mark.parametrize("decoding", [Decoding(1.0, 1.0, 12), Decoding(0.0, 1.0, 12)])
@pytest.mark.parametrize("kind", ["Qwen3", "GPT2"])
def test_completions_are_those_of_the_general_path(kind, decoding):
    model = make(kind)
    rows = [Request(str(n), prompt, n) for n, prompt in enumerate(PROMPTS * 3)]
    fast, general = (
        TransformersEngine(model, [2], 0, 200, fast=fast).generate(rows, decoding)
        for fast in (True, False)
    )
    assert [c.token_ids for c in fast] == [c.token_ids for c in general]
    for ours, theirs in zip(fast, general, strict=True):
        assert ours.logprobs == pytest.approx(theirs.logprobs, abs=2e-5)


@pytest.mark.parametrize("name", ["qwen3", "llama, biases"])
def test_products_in_bfloat16_round_each_number_to_eight_bits(name):
    """A product in bf16 is that of rounded inputs and weights, rounded: by hand for one. Logits are
    then near those of fp32, and not equal; the cache and the logits stay in fp32.
    """
    model = make(PLAIN[name][0], **PLAIN[name][1])
    with torch.inference_mode():
        half, whole = open_decoder(model, autocast="bfloat16"), open_decoder(model)
        assert half is not None and whole is not None
        x, linear = torch.randn(3, 48), model.model.layers[0].mlp.down_proj
        exact = x.bfloat16().double() @ linear.weight.bfloat16().double().T
        found = half.layers[0].down(x)
        assert found.dtype == torch.float32
        assert torch.allclose(found.double(), exact, rtol=2**-8, atol=2**-8)
        assert torch.equal(half.head(x), whole.head(x))
        rounded, real = (prefill(model, PROMPTS, 3, 0, d) for d in (half, whole))
    keys = getattr(rounded.cache.layers[0], "keys")  # noqa: B009 (not every kind of layer has them)
    assert rounded.logits_BV.dtype == keys.dtype == torch.float32
    off = (rounded.logits_BV - real.logits_BV).abs().max() / real.logits_BV.abs().max()
    assert 1e-5 < off < 0.05


@pytest.mark.parametrize("kind", ["Qwen3", "GPT2"])
def test_what_is_sampled_in_bfloat16_says_how_likely_it_was_then(kind):
    """Of both paths: log-probabilities are those of a pass in fp32 within bf16's rounding."""
    model = make(kind)
    rows = [Request(str(n), prompt, n) for n, prompt in enumerate(PROMPTS * 2)]
    engine = TransformersEngine(model, [2], 0, 200, autocast="bfloat16")
    found = engine.generate(rows, Decoding(1.0, 1.0, 8, model_logprobs=True))
    assert (engine.fast, model.dtype) == (kind == "Qwen3", torch.float32)
    for row, said in zip(rows, found, strict=True):
        ids = torch.tensor([[*row.prompt_ids, *said.token_ids]])
        with torch.no_grad():
            logp = model(ids).logits[0].log_softmax(-1)[len(row.prompt_ids) - 1 : -1]
        exact = logp.gather(1, torch.tensor(said.token_ids).unsqueeze(1)).squeeze(1)
        assert said.logprobs == pytest.approx(exact.tolist(), abs=0.5)
        assert said.logprobs != pytest.approx(exact.tolist(), abs=1e-6)
        assert said.model_logprobs == pytest.approx(said.logprobs, abs=1e-5)


def test_weights_that_have_changed_are_read_again():
    model = make("Qwen3")
    engine, rows = TransformersEngine(model, [2], 0, 200), [Request("a", [5, 6, 7], 1)]
    first = engine.generate(rows, Decoding(0.0, 1.0, 8))
    model.lm_head.weight.data.neg_()
    again = engine.generate(rows, Decoding(0.0, 1.0, 8))
    other = TransformersEngine(model, [2], 0, 200, fast=False)
    assert again[0].token_ids != first[0].token_ids
    assert again[0].token_ids == other.generate(rows, Decoding(0.0, 1.0, 8))[0].token_ids
