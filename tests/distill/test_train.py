import copy
import math
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from rosd_core.distill.batch_loss import batch_loss
from rosd_core.distill.checkpoint import Saves
from rosd_core.distill.optimizer_state import STATE_FILE, save_state
from rosd_core.distill.optimizers import new_optimizer, step_placed
from rosd_core.distill.steps import step_rows
from rosd_core.distill.targets import Objective, refuse_unscored, split_step
from rosd_core.distill.train import train
from rosd_core.distill.watch import Watch
from rosd_core.errors import RosdError
from rosd_core.forward.packing import packed_attention
from tests.distill.many import OPTIMIZATION as SMALL_BATCHES
from tests.distill.many import UNBOUNDED, UNSAVED, rows
from tests.support import LOSS

OPTIMIZATION = replace(SMALL_BATCHES, batch_tokens=1000)


def run(model, steps, folder, loss=LOSS, **optimization):
    settings = replace(OPTIMIZATION, **optimization)
    saves = replace(UNSAVED, start=folder)
    logs, _, state = train(model, steps, saves, Objective(loss), settings, 0, 0, UNBOUNDED)
    return logs, state


def trained(tiny, data, rows_per_step=4, start=None, **optimization):
    model = copy.deepcopy(tiny)
    logs, state = run(model, step_rows([data], rows_per_step, 1, "rows"), start, **optimization)
    return model, logs, state


def loss_of(model, data, **loss):
    """Summed loss and ratios of rows, as the training loop has them."""
    (batch,) = split_step(data, 10**6, live_teacher=False)
    with packed_attention(model):
        return batch_loss(model, batch, Objective(replace(LOSS, **loss)), 0)


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def test_the_loss_by_hand(tiny):
    """One token, support of one id: the buckets are (p, 1 - p), so JSD has a closed form."""
    row = {
        "problem_id": "p", "prompt_ids": [5, 6], "response_ids": [7, 8], "positions": [1],
        "behaviour_logp": [-50.0], "student_logp": [-50.0],
        "weight": 1.0, "token_weight": np.ones(1),
        "support_ids": [[9]], "support_logp": [[math.log(0.25)]],
        "tail_logp": [math.log(0.75)], "teacher_logp": [-1.0],
    }  # fmt: skip
    with torch.no_grad():
        logits = tiny(torch.tensor([[5, 6, 7]])).logits[0, -1]
        loss, ratios = loss_of(tiny, [row])
    p, q = logits.softmax(-1)[9].item(), 0.25
    m = (p + q) / 2
    s_m = p * math.log(p / m) + (1 - p) * math.log((1 - p) / (1 - m))
    t_m = q * math.log(q / m) + (1 - q) * math.log((1 - q) / (1 - m))
    # the behaviour probability is tiny, so the weight is clipped at 2
    assert loss.item() == pytest.approx(2 * (s_m + t_m) / 2, rel=1e-4)
    assert ratios.importance_N.item() > 2


@pytest.mark.parametrize("batch_tokens", [1, 25])
def test_batches_do_not_change_the_step(tiny, batch_tokens):
    whole, logs, _ = trained(tiny, rows())
    cut, cut_logs, _ = trained(tiny, rows(), batch_tokens=batch_tokens)
    # the mean is over the tokens of the step: a short suffix does not outweigh a long response
    assert torch.allclose(weights(whole), weights(cut), atol=1e-5)
    assert [log.loss for log in logs] == pytest.approx([log.loss for log in cut_logs], abs=1e-6)


def test_the_loss_falls_over_repeated_epochs(tiny):
    data = [r | {"behaviour_logp": [-50.0] * len(r["behaviour_logp"])} for r in rows()]
    model = copy.deepcopy(tiny)  # all importance ratios are clipped, so losses are comparable

    def epoch():
        steps = step_rows([data], 4, 1, "rows")
        return run(model, steps, None, warmup_steps=0, learning_rate=5e-3)[0]

    first = epoch()
    for _ in range(20):
        last = epoch()
    assert last[0].loss < 0.5 * first[0].loss


def test_the_prefix_has_no_influence_but_as_context(tiny):
    """Gradients come from supervised tokens alone: their sum is that of the suffix's positions."""
    data = rows(1)
    data[0]["positions"], keep = [2], 1
    for name in (
        "behaviour_logp",
        "student_logp",
        "support_ids",
        "support_logp",
        "tail_logp",
        "teacher_logp",
        "token_weight",
    ):
        data[0][name] = data[0][name][-keep:]
    model = copy.deepcopy(tiny)
    ratio = loss_of(model, data)[1].importance_N
    assert ratio.shape == (1,)
    with torch.no_grad():
        ids = torch.tensor([[*data[0]["prompt_ids"], *data[0]["response_ids"]]])
        position = model(ids).logits[0, -2].log_softmax(-1)
    assert ratio.item() == pytest.approx(math.exp(position[ids[0, -1]].item() + 3.0), rel=1e-4)


def test_the_optimizer_goes_on_where_it_stopped(tiny, tmp_path):
    """Two steps in one run equal one step, saved and loaded, and then the other."""
    data = rows()
    whole, logs, _ = trained(tiny, data)
    first, second = step_rows([data], 4, 1, "rows")
    half = copy.deepcopy(tiny)
    _, state = run(half, [first], None)
    save_file(state, tmp_path / STATE_FILE)
    again, _ = run(half, [second], tmp_path)
    assert torch.allclose(weights(half), weights(whole), atol=1e-6)
    assert again[0].step == 1
    assert again[0].learning_rate == logs[1].learning_rate == 1e-3  # warm-up is over


class Stopped(Exception):
    """A kill, for these tests."""


@pytest.mark.parametrize(("stop", "kept"), [(1, 0), (3, 2), (4, 4), (7, 6)])
def test_an_epoch_that_was_stopped_goes_on_from_its_last_save(tiny, tmp_path, stop, kept):
    """Eight steps, saved every two and stopped before step `stop`: weights, logs and state are
    those of an epoch that was not, and no step before the last save is done again.
    """
    steps = list(step_rows([rows(16)], 2, 1, "rows"))
    whole = copy.deepcopy(tiny)
    logs, state = run(whole, steps, None)
    made = Saves(None, tmp_path, 2, writes=True)
    how = Objective(LOSS), OPTIMIZATION, 0, 0, UNBOUNDED

    def until_stopped():
        yield from steps[:stop]
        raise Stopped

    with pytest.raises(Stopped):
        train(copy.deepcopy(tiny), until_stopped(), made, *how)
    assert [int(s.name.removeprefix("step-")) for s in tmp_path.iterdir()] == (
        [kept] if kept else []
    )
    done_again = []

    class Seen(Watch):
        def step(self, log):
            done_again.append(log.step)
            super().step(log)

    resumed = copy.deepcopy(tiny)
    seen = Seen(UNBOUNDED.guards, may_rest=False)
    again, _, found = train(resumed, steps, made, *how[:-1], seen)
    assert torch.equal(weights(resumed), weights(whole))
    assert again == logs
    assert found.keys() == state.keys()
    assert all(torch.equal(found[name], state[name]) for name in state)
    assert done_again == list(range(kept, 8))


def test_warm_up_by_hand(tiny):
    _, logs, _ = trained(tiny, rows(), rows_per_step=2, warmup_steps=4)
    assert [log.learning_rate for log in logs] == pytest.approx([2.5e-4, 5e-4, 7.5e-4, 1e-3])


def test_state_of_another_model_and_a_loss_that_is_not_finite_stop(tiny, tmp_path):
    save_file({"steps": torch.tensor(1), "step/other": torch.tensor(1.0)}, tmp_path / STATE_FILE)
    with pytest.raises(RosdError, match="another model"):
        trained(tiny, rows(), start=tmp_path)
    (tmp_path / STATE_FILE).unlink()
    with pytest.raises(RosdError, match=r"no optimizer state there; run `rosd distill test_state"):
        trained(tiny, rows(), start=tmp_path)
    bad = rows()
    bad[0]["support_logp"][0][0] = math.nan
    with pytest.raises(RosdError, match="diverged"):
        trained(tiny, bad)


def test_a_merged_adapter_leaves_the_count_of_steps(tiny, tmp_path):
    """Warm-up goes on: step 2 of 4, not step 1 again."""
    _, _, state = trained(tiny, rows(), rows_per_step=8)
    save_state(state, merged=True, folder=tmp_path / "i1")
    _, logs, _ = trained(tiny, rows(), rows_per_step=8, start=tmp_path / "i1", warmup_steps=4)
    assert [log.step for log in logs] == [1]
    assert logs[0].learning_rate == pytest.approx(5e-4)


def test_other_targets_than_the_table_holds_are_named(tiny):
    data = rows()
    for row in data:
        row["support_logp"] = ()
    with pytest.raises(RosdError, match=r"no support_logp: .* another score\.targets"):
        trained(tiny, data)


def logp_of(model, row):
    with torch.no_grad():
        logits = model(torch.tensor([row["prompt_ids"] + row["response_ids"]])).logits[0]
    start = len(row["prompt_ids"]) - 1
    return [
        logits[start + t].log_softmax(-1)[row["response_ids"][t]].item() for t in row["positions"]
    ]


def test_cross_entropy_by_hand(tiny):
    (row,) = rows(1)
    with torch.no_grad():
        loss, _ = loss_of(tiny, [row | {"weight": 0.5}], loss="cross_entropy")
    assert loss.item() == pytest.approx(-0.5 * sum(logp_of(tiny, row)), rel=1e-4)


@pytest.mark.parametrize(
    ("behaviour", "advantage", "expected", "moves"),
    [
        (0.0, 2.0, -2.0, True),  # ratio 1: the plain policy gradient
        (0.0, -2.0, 2.0, True),
        (-1.0, 2.0, -2.4, False),  # ratio e: a good token is clipped at 1.2, without gradient
        (-1.0, -2.0, 2 * math.e, True),  # a bad token that became likelier is not clipped
        (1.0, 2.0, -2 / math.e, True),  # ratio 1/e
        (1.0, -2.0, 1.6, False),  # a bad token is pushed no lower than 0.8
    ],
)
def test_the_policy_gradient_by_hand(tiny, behaviour, advantage, expected, moves):
    model = copy.deepcopy(tiny)
    (row,) = rows(1)
    # the ratio is to the weights that sampled, whatever the temperature that they sampled at
    start = [x + behaviour for x in logp_of(tiny, row)]
    row |= {"student_logp": start, "behaviour_logp": [-0.1] * len(start), "weight": advantage}
    (batch,) = split_step([row], 10**6, live_teacher=False)
    with packed_attention(model):
        loss, _ = batch_loss(model, batch, Objective(replace(LOSS, loss="policy_gradient")), 0)
        assert loss.item() == pytest.approx(expected * len(row["positions"]), rel=1e-4)
        loss.backward()
    assert any(p.grad is not None and p.grad.abs().max() > 0 for p in model.parameters()) == moves


def test_a_divergence_needs_a_teacher():
    refuse_unscored({"no_teacher": 1}, "policy_gradient")
    with pytest.raises(RosdError, match=r"1 rows of scores\.parquet have no teacher"):
        refuse_unscored({"no_teacher": 1, "scored": 3}, "divergence")
    counts = (
        r"no row of scores\.parquet .* 2 are too_long, 1 are negative_lift, 0 are no_divergence, "
    )
    with pytest.raises(RosdError, match=counts):
        refuse_unscored({"too_long": 2, "negative_lift": 1}, "divergence")


def test_a_loss_is_the_mean_by_token_weight(tiny):
    """Cross-entropy of two rows with weights 1, 1/2, 1/4, ... and row weights 2 and 1."""
    data = rows(2)
    for row, r in zip(data, (2.0, 1.0), strict=True):
        row |= {"weight": r, "token_weight": 0.5 ** np.arange(len(row["positions"]))}
    summed = sum(
        row["weight"] * 0.5**n * -logp for row in data for n, logp in enumerate(logp_of(tiny, row))
    )
    # both rows have three tokens: the sum of weights is 2 (1 + 1/2 + 1/4) = 7/2; r is not in it
    assert [len(row["positions"]) for row in data] == [3, 3]
    (log,), _ = run(copy.deepcopy(tiny), [data], None, replace(LOSS, loss="cross_entropy"))
    assert log.loss == pytest.approx(summed / 3.5, rel=1e-4)
    assert log.tokens == 6


@pytest.mark.parametrize("batch_tokens", [1, 25])
def test_batches_do_not_change_a_weighted_step(tiny, batch_tokens):
    data = [row | {"token_weight": 0.5 ** np.arange(len(row["positions"]))} for row in rows()]
    whole, logs, _ = trained(tiny, data)
    cut, cut_logs, _ = trained(tiny, data, batch_tokens=batch_tokens)
    assert torch.allclose(weights(whole), weights(cut), atol=1e-5)
    assert [log.loss for log in logs] == pytest.approx([log.loss for log in cut_logs], abs=1e-6)


def test_a_masked_token_is_as_if_it_were_not_supervised(tiny):
    """Rows of which the first token has weight 0, and rows without that token."""
    masked, without = rows(), rows()
    for row in masked:
        row["token_weight"][0] = 0
    for row in without:
        for name in PER_TOKEN:
            row[name] = row[name][1:]
    one, other = (trained(tiny, data) for data in (masked, without))
    assert torch.allclose(weights(one[0]), weights(other[0]), atol=1e-5)
    assert [log.loss for log in one[1]] == pytest.approx([log.loss for log in other[1]], rel=1e-4)


PER_TOKEN = (
    "positions", "behaviour_logp", "student_logp", "token_weight", "support_ids", "support_logp",
    "tail_logp", "teacher_logp",
)  # fmt: skip


def test_steps_shuffle_within_a_group_and_cut_across_groups():
    data = rows(8)
    for n, row in enumerate(data):
        row["n"] = n
    found = [[row["n"] for row in step] for step in step_rows([data[:5], data[5:]], 3, 0, "rows")]
    assert [len(step) for step in found] == [3, 3, 2]
    flat = [n for step in found for n in step]
    assert sorted(flat[:5]) == [0, 1, 2, 3, 4]
    assert flat != list(range(8))
    kept = [row["n"] for step in step_rows([data], 3, 0, "problems") for row in step]
    assert sorted(kept) == list(range(8))
    assert all(kept[i + 1] == kept[i] + 1 for i in range(0, 8, 2))  # two rows of each problem


@pytest.mark.stage
def test_several_processes_make_the_step_of_one(tiny, tmp_path):
    """Two real processes over gloo, each with its batches, against this one with all of them."""
    from torch.multiprocessing.spawn import spawn

    data = rows()
    alone, logs, _ = trained(tiny, data, batch_tokens=20)
    spawn(one_of_two, (tiny.state_dict(), tiny.config, data, tmp_path), nprocs=2)
    found = torch.load(tmp_path / "weights.pt")
    assert torch.allclose(found, weights(alone), atol=1e-6)
    both = [asdict(log) for log in logs], torch.load(tmp_path / "logs.pt")
    for name in ("loss", "grad_norm", "mean_importance", "largest_ratio", "stale_kl"):
        one, two = ([log[name] for log in logs] for logs in both)
        assert one == pytest.approx(two, rel=1e-4)


def one_of_two(rank, state, config, data, folder):
    from torch import distributed
    from transformers import Qwen3ForCausalLM

    torch.set_num_threads(1)
    store = f"file://{folder}/store"
    distributed.init_process_group("gloo", init_method=store, rank=rank, world_size=2)
    model = Qwen3ForCausalLM(config)
    model.load_state_dict(state)
    logs, _ = run(model, step_rows([data], 4, 1, "rows"), None, batch_tokens=20)
    if rank == 0:
        torch.save(weights(model), folder / "weights.pt")
        torch.save([asdict(log) for log in logs], folder / "logs.pt")
    distributed.destroy_process_group()


def test_staleness_by_hand(tiny):
    """The weights that sampled gave the tokens 1/2 and 1/4 of today's probability: drifts of 2 and
    4, whose KL estimates are 2 - 1 - ln 2 and 4 - 1 - ln 4. They were sampled at a temperature that
    made both twice as likely as that: ratios of 1 and 2, neither above the clip of 2.5.
    """
    (row,) = rows(1)
    row["positions"] = [0, 1]
    logp = logp_of(tiny, row)
    start = [logp[0] - math.log(2), logp[1] - math.log(4)]
    row |= {"student_logp": start, "behaviour_logp": [x + math.log(2) for x in start]}
    stored = ("support_ids", "support_logp", "tail_logp", "teacher_logp", "token_weight")
    row |= {name: row[name][:2] for name in stored}
    model = copy.deepcopy(tiny)
    (log,), _ = run(model, [[row]], None, replace(LOSS, importance_clip=2.5))
    assert log.largest_ratio == pytest.approx(4, rel=1e-4)
    assert log.mean_importance == pytest.approx((1 + 2) / 2, rel=1e-4)
    assert log.clipped_share == 0
    assert log.stale_kl == pytest.approx((1 - math.log(2) + 3 - math.log(4)) / 2, rel=1e-4)


def test_what_the_loss_clips_is_counted(tiny):
    """Behaviour of 1/2 and 1/4: ratios of 2 and 4, of which a clip of 2.5 cuts the second."""
    (row,) = rows(1)
    row["positions"] = [0, 1]
    logp = logp_of(tiny, row)
    row |= {"behaviour_logp": [logp[0] - math.log(2), logp[1] - math.log(4)], "student_logp": logp}
    stored = ("support_ids", "support_logp", "tail_logp", "teacher_logp", "token_weight")
    row |= {name: row[name][:2] for name in stored}
    model = copy.deepcopy(tiny)
    (log,), _ = run(model, [[row]], None, replace(LOSS, importance_clip=2.5))
    assert log.mean_importance == pytest.approx((2 + 2.5) / 2, rel=1e-4)
    assert log.clipped_share == 0.5
    # the weights are those that sampled: nothing is stale
    assert log.largest_ratio == pytest.approx(1, abs=1e-4)
    assert log.stale_kl == pytest.approx(0, abs=1e-6)


def test_the_count_of_steps_lies_where_the_optimizer_reads_it():
    """AdamW's kernel (`fused`) reads it on the device of the parameter, the others on the CPU."""
    step, there = torch.tensor(3.0), torch.empty(2, device="meta")
    fused = new_optimizer("adamw", [torch.zeros(2, requires_grad=True)], 1e-3, (0.9, 0.95), 0.0)
    assert step_placed(fused, step, there).device.type == "meta"
    other = new_optimizer("adafactor", [torch.zeros(2, requires_grad=True)], 1e-3, (0.9, 0.95), 0.0)
    assert step_placed(other, step, there) is step
