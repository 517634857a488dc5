"""Work, memory and bytes of a plan: numbers derived by hand, and what has to hold for any."""

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rosd_core.distill.steps import step_rows
from rosd_core.plan.advice import advice_on
from rosd_core.plan.cost import Cost
from rosd_core.plan.disk import model_bytes, score_bytes
from rosd_core.plan.hardware import GIB, card
from rosd_core.plan.layout import adapter, training_of
from rosd_core.plan.lines import lines_of
from rosd_core.plan.memory import gathered, stage_memory, weights_of
from rosd_core.plan.model_shape import read_config, shape_of
from rosd_core.plan.plan import make_plan
from rosd_core.plan.work import distill, prompts_of_step, read_once, score, stage_work
from rosd_core.sampling.batches import prefix_groups, prefix_packs
from tests.plan.support import CPU, LOAD, TINY, case, known, on, params, prompt

FOUR, EIGHT = (shape_of(read_config(n), n) for n in ("Qwen/Qwen3-4B", "Qwen/Qwen3-8B"))
WHOLE = {"batch_tokens": 16384, "autocast": "bfloat16", "gradient_checkpointing": True}
LORA = {"rank": 2, "alpha": 4, "dropout": 0.0, "modules": "all-linear", "merge": False}


def by_stage(found):
    return {work.stage: work for work in found}


def test_tokens_of_an_iteration():
    works = by_stage(stage_work(case(engine={"parity": {"rows": 0, "bound": 1}}), first=True))
    assert (works["rollout"].read, works["rollout"].sampled) == (10 * 20, 40 * 10)
    # reflections: 40 prompts of 50 tokens that share nothing but their problem, all of it here
    assert works["reflect"].sampled == 40 * 8
    assert (works["evaluate"].read, works["evaluate"].sampled) == (6 * 20, 12 * 10)
    # student: 10 prompts and 40 responses; teacher: 40 prompts with 40 responses
    assert works["score"].read == 10 * 20 + 40 * 10 + 40 * (30 + 10)
    assert works["score"].supervised == works["distill"].supervised == 0.75 * 400
    assert works["align"].read == works["align"].sampled == 0


def test_operations_of_scoring_and_training():
    small = case(engine={"parity": {"rows": 0, "bound": 1}}, distill={"rows_per_step": 40})
    # 2200 tokens: 2 x 1152 each and 4 x 2 x 8 x (mean of the prompts 25 + 5) of context; two heads
    # of 2 x 256 at 300 tokens
    assert score(small, True).cost.flops == 2200 * (2304 + 64 * 30) + 2 * 300 * 512
    # one step of 40 rows: 10 prompts expected to be all there, nearly; 3 x forward and 3 heads,
    # then a forward pass and a head over the same rows
    read = prompts_of_step(small.params, LOAD) * 20 + 400
    forward = read * (2304 + 64 * 15)
    assert distill(small).cost.flops == pytest.approx(4 * forward + 4 * 300 * 512)
    changed = params(distill={"rows_per_step": 40, "gradient_checkpointing": True})
    again = replace(small, params=changed)
    assert distill(again).cost.flops == pytest.approx(5 * forward + 4 * 300 * 512)


def test_prompts_that_begin_alike_are_read_as_the_engine_reads_them():
    rng = random.Random(0)
    prompts = sorted([0] * 30 + [rng.randrange(1, 99) for _ in range(12)] for _ in range(50))
    packs = list(prefix_packs(prompts, prefix_groups(prompts), 4096))
    tokens = sum(p + sum(len(prompts[n]) - p for n in range(a, b)) for g in packs for a, b, p in g)
    assert read_once(50, prompt(42, shared=30)) == pytest.approx(tokens, rel=0.02)


@pytest.mark.parametrize("shuffle", ["rows", "problems"])
def test_prompts_of_a_step_are_those_of_real_steps(shuffle):
    rows = [{"problem_id": n // 4} for n in range(384)]
    values = params(distill={"shuffle": shuffle, "rows_per_step": 64})
    steps = [s for seed in range(20) for s in step_rows([rows], 64, seed, shuffle)]
    mean = sum(len({row["problem_id"] for row in step}) for step in steps) / len(steps)
    load = replace(LOAD, problems=known(96))
    assert prompts_of_step(values, load) == pytest.approx(mean, rel=0.1)


def test_seconds_are_those_of_the_parts():
    cost = Cost(flops=2e9, read=3e9, moved=1e9, calls=1e6, host=0.5)
    assert cost.seconds(CPU, 4) == pytest.approx(2 + 3 + 1 + 1 + 0.5)
    gpu = replace(CPU, device="cuda")  # calls are queued beside the work
    assert cost.seconds(gpu, 4) == pytest.approx(2 + 3 + 1 + 0.5)
    assert (cost + cost.times(2)).flops == 6e9


def test_weights_gradients_and_state_take_16_bytes_a_parameter():
    shape = FOUR
    whole = training_of(params().distill, shape, 1)
    parts = weights_of(shape, whole, card("H100", 1))
    assert sum(parts.values()) == 16 * shape.parameters
    assert parts["optimizer"] == 8 * shape.parameters
    half = weights_of(shape, replace(whole, shards=2), card("H100", 2))
    assert sum(half.values()) == 8 * shape.parameters
    # two layers and the head are gathered, in fp32
    assert gathered(shape, whole) == 0
    two = 4 * (2 * shape.body / shape.layers + shape.head)
    assert gathered(shape, replace(whole, shards=2)) == two
    eighth = weights_of(shape, replace(whole, state=2.0), card("H100", 1))
    assert eighth["optimizer"] == 2 * shape.parameters
    assert weights_of(shape, replace(whole, offload=True), card("H100", 1))["optimizer"] == 0
    assert weights_of(shape, replace(whole, offload=True), CPU)["optimizer"] > 0


def test_an_adapter_has_the_parameters_of_peft():
    peft = pytest.importorskip("peft")
    from transformers import AutoConfig, AutoModelForCausalLM

    from tests.plan.test_shape import TINY as VALUES

    config = AutoConfig.for_model("llama", **{k: v for k, v in VALUES.items() if k != "model_type"})
    model = AutoModelForCausalLM.from_config(config)
    lora = peft.LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM")
    wrapped = peft.get_peft_model(model, lora)
    trained = sum(p.numel() for p in wrapped.parameters() if p.requires_grad)
    assert adapter(TINY, 2) == trained


def test_bytes_of_models_and_scores():
    values = params(score={"targets": "hidden"})
    sizes = model_bytes(TINY, values, training_of(values.distill, TINY, 1))
    assert sizes == {"model": 4 * 1448, "optimizer": 8 * 1448}
    # hidden states of 8 numbers in bf16 at 300 tokens, and more
    assert score_bytes(TINY, values, LOAD) > 300 * 16
    merged = params(distill={"lora": LORA | {"merge": True}})
    sizes = model_bytes(TINY, merged, training_of(merged.distill, TINY, 1))
    assert sizes == {"model": 4 * 1448, "optimizer": 0}


def test_a_4b_model_does_not_fit_an_80_gb_gpu_with_the_largest_batch_and_does_with_half_of_it():
    large = on("H100", 1, FOUR, distill=WHOLE, machine={"device": "cuda", "threads": 8})
    told = advice_on(large, lines_of(large, first=False))
    assert any(line.startswith("distill will not fit") for line in told)
    assert any("distill.batch_tokens: 8192 (now 16384)" in line for line in told)
    half = on("H100", 1, FOUR, distill=WHOLE | {"batch_tokens": 8192})
    assert advice_on(half, lines_of(half, first=False)) == []


def test_an_8b_model_is_trained_over_several_gpus_or_with_an_adapter():
    case_ = on("H100", 2, EIGHT, distill=WHOLE, engine={"workers": 2})
    told = "\n".join(advice_on(case_, lines_of(case_, first=False)))
    assert "distill will not fit" in told
    assert "distill.lora, rank 16" in told
    assert "sharded over" in told
    adapter_ = on("H100", 1, EIGHT, distill=WHOLE | {"lora": LORA})
    assert not [t for t in advice_on(adapter_, lines_of(adapter_, False)) if "distill" in t]


def test_weights_in_four_bits_take_half_a_byte_and_their_scales():
    """1/2 + 1/64 + 4/(64 x 256) bytes of each weight of the body, 4 of all others."""
    settings = params(distill={"lora": LORA | {"quantize": "nf4"}}).distill
    found = weights_of(TINY, training_of(settings, TINY, 1), CPU)
    assert found["weights"] == pytest.approx(
        (0.5 + 1 / 64 + 1 / 4096) * TINY.body + 4 * (TINY.parameters - TINY.body)
    )
    assert found["optimizer"] == 8 * adapter(TINY, 2)


def test_an_8b_model_that_no_24_gb_card_holds_with_an_adapter_fits_in_four_bits():
    small = {"batch_tokens": 4096, "autocast": "bfloat16", "gradient_checkpointing": True}
    case_ = on("4090", 1, EIGHT, distill=small | {"lora": LORA}, rollout={"max_new_tokens": 1024})
    told = "\n".join(advice_on(case_, lines_of(case_, first=False)))
    assert "distill.lora, rank 16, quantize nf4: " in told
    assert "distill.lora, rank 16: " not in told


def test_gpus_that_idle_are_named():
    told = advice_on(on("H200", 4, FOUR), lines_of(on("H200", 4, FOUR), first=False))
    assert told[0] == "rollout, reflect, score, evaluate: use 1 of 4 GPUs; raise engine.workers."


def test_a_loop_is_its_first_iteration_and_the_later_ones():
    plan = make_plan(case(), 3)
    first, later = (sum(x.seconds for x in lines_of(case(), f)) for f in (True, False))
    assert plan.loop["seconds"] == pytest.approx(CPU.start + first + 2 * later)
    one = make_plan(case(), 1)
    assert one.loop["seconds"] == pytest.approx(CPU.start + first)
    assert one.as_json()["iteration"][0]["memory"]["total"] > 0


def test_the_start_of_a_stage():
    """CPU starts in a second; `align` imports a quarter of that."""
    forked, workers = lines_of(case(), False), lines_of(case(engine={"workers": 2}), False)
    for line in forked:
        start = 0.25 if line.stage == "align" else 1.0
        assert line.by_hand - line.seconds == pytest.approx(start - 0.1)
    assert all(line.by_hand == line.seconds for line in workers)
    on_gpu = lines_of(case(hardware=card("H100", 1)), False)  # --card, and params with a CPU
    assert all(line.by_hand == line.seconds for line in on_gpu)
    assert make_plan(case(engine={"workers": 2}), 1).loop["seconds"] == pytest.approx(
        sum(line.seconds for line in lines_of(case(engine={"workers": 2}), True))
    )


COUNTS = st.integers(1, 2000)


@given(problems=COUNTS, more=COUNTS, response=st.integers(1, 300), new=st.booleans())
def test_more_rows_or_longer_ones_never_take_less(problems, more, response, new):
    small = replace(LOAD, problems=known(problems), response=known(response))
    large = (
        replace(small, response=known(response + more))
        if new
        else replace(small, problems=known(problems + more))
    )
    for a, b in zip(lines_of(case(small), False), lines_of(case(large), False), strict=True):
        for name in ("read", "sampled", "supervised", "flops", "seconds"):
            assert getattr(a, name) <= getattr(b, name) * (1 + 1e-9), (a.stage, name)
        assert sum(a.disk.values()) <= sum(b.disk.values())
        assert a.memory.total <= b.memory.total * (1 + 1e-9), a.stage


@given(count=st.integers(1, 16), batch=st.integers(1, 100_000))
def test_memory_falls_with_gpus_that_share_and_with_smaller_batches(count, batch):
    base = on("H100", 1, EIGHT, distill=WHOLE | {"batch_tokens": batch})

    def takes(number, size=batch):
        values = base.params.model_copy(
            update={"distill": base.params.distill.model_copy(update={"batch_tokens": size})}
        )
        shared = replace(base.training, shards=number)
        return stage_memory(replace(base, params=values, training=shared), False)["distill"].total

    assert takes(2 * count + 2) < takes(count + 1) < takes(1)
    assert takes(count, 2 * batch) >= takes(count)
    assert takes(count) > GIB
