"""Parity of engine and training forward pass; students, teachers and tokenizers that are others."""

import json
import math

import pytest
import torch
from safetensors.torch import load_file, save_file

from rosd_core.errors import RosdError
from rosd_core.forward.hidden_states import MixPart, ModelMix
from rosd_core.forward.teachers import (
    load_pair,
    open_teacher,
    refuse_other_teacher,
    refuse_other_tokenizer,
    teacher_fingerprint,
)
from rosd_core.models.student import Student
from rosd_core.sampling.draw import nucleus_logp
from rosd_core.sampling.engine import Decoding, Request
from rosd_core.sampling.transformers_engine import TransformersEngine
from rosd_core.score.inputs import refuse_other_student
from rosd_core.score.parity import parity, refuse_disparity
from rosd_core.tables.hashing import fingerprint
from rosd_core.tables.io import write_table


def rollouts(tiny, path, decoding, shift=0.0):
    """A table sampled from `tiny`, its behaviour log-probs shifted."""
    requests = [Request(f"p/{n}", [5, 6, 7 + n], 31 * n) for n in range(5)]
    done = TransformersEngine(tiny, [2], 0, 1000).generate(requests, decoding)
    rows = [
        {
            "rollout_id": r.row_id, "problem_id": "p", "sample": n, "prompt_ids": r.prompt_ids,
            "shortened": None, "response_ids": c.token_ids, "response": "",
            "behaviour_logp": [x + shift for x in c.logprobs], "student_logp": c.model_logprobs,
            "finish_reason": c.finish_reason, "reward": 0.0, "success": False,
            "parsed_answer": None, "answer_format": "missing", "feedback": "", "seed": r.seed,
            "model": "0123456789abcdef",
        }
        for n, (r, c) in enumerate(zip(requests, done, strict=True))
    ]  # fmt: skip
    write_table("rollouts", rows, path)
    return sum(len(c.token_ids) for c in done)


def measured(tiny, path, temperature, top_p, count=5):
    return parity(path, count, ModelMix((MixPart(tiny),), 0), temperature, top_p)


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.7, 0.9)])
def test_our_engine_agrees_with_the_training_forward_pass(tiny, tmp_path, temperature, top_p):
    path = tmp_path / "r.parquet"
    tokens = rollouts(tiny, path, Decoding(temperature, top_p, 8, True))
    found = measured(tiny, path, temperature, top_p)
    assert (found["parity_rows"], found["parity_tokens"]) == (5, tokens)
    assert 0 < found["parity_mean"] <= found["parity_worst"] < 5e-5
    refuse_disparity(found, 0.001)
    assert measured(tiny, path, temperature, top_p, count=2)["parity_rows"] == 2


def test_a_shift_is_measured(tiny, tmp_path):
    path = tmp_path / "r.parquet"
    rollouts(tiny, path, Decoding(1.0, 1.0, 8, True), shift=0.1)
    found = measured(tiny, path, 1.0, 1.0)
    assert found["parity_mean"] == pytest.approx(0.1, abs=1e-4)
    assert found["parity_worst"] == pytest.approx(0.1, abs=1e-4)
    with pytest.raises(RosdError, match=r"differ by 0\.1000 nats per token.*bound = 0\.05"):
        refuse_disparity(found, 0.05)
    refuse_disparity(found, 0.2)


def test_another_temperature_is_refused(tiny, tmp_path):
    path = tmp_path / "r.parquet"
    rollouts(tiny, path, Decoding(0.5, 1.0, 8, True))
    with pytest.raises(RosdError, match="not those of the training forward pass"):
        refuse_disparity(measured(tiny, path, 1.0, 1.0), 0.05)


def test_another_model_is_refused(tiny, folders, tmp_path):
    """The weights of the second folder are a fifth larger."""
    from rosd_core.models.loading import load_plain

    path, (_, b, weights) = tmp_path / "r.parquet", folders
    rollouts(tiny, path, Decoding(1.0, 1.0, 8, True))
    save_file({n: t * 1.2 for n, t in load_file(weights).items()}, weights, {"format": "pt"})
    with pytest.raises(RosdError, match="did not sample from this model"):
        refuse_disparity(measured(load_plain(b), path, 1.0, 1.0), 0.05)


def test_no_number_is_no_parity():
    bad = {"parity_mean": math.nan, "parity_worst": math.nan, "parity_rows": 1}
    with pytest.raises(RosdError, match="nan"):
        refuse_disparity(bad, 0.05)


def test_the_nucleus_by_hand():
    """Probabilities 0.5, 0.3, 0.15, 0.05; a nucleus of 0.7 holds the first two, 0.8 in all."""
    logits = torch.tensor([[0.3, 0.5, 0.05, 0.15]]).log().repeat(3, 1)
    token = torch.tensor([1, 0, 3])  # the last one is outside
    expected = [math.log(0.5 / 0.8), math.log(0.3 / 0.8), math.log(0.15 / 0.8)]
    assert nucleus_logp(logits, token, 1.0, 0.7).tolist() == pytest.approx(expected, abs=1e-6)
    plain = [math.log(p) for p in (0.5, 0.3, 0.15)]
    assert nucleus_logp(logits, token, 1.0, 1.0).tolist() == pytest.approx(plain, abs=1e-6)
    # temperature 0.5 squares them: 0.25, 0.09, 0.0225, 0.0025 of 0.365
    hot = nucleus_logp(logits, token, 0.5, 1.0).tolist()
    assert hot == pytest.approx([math.log(p / 0.365) for p in (0.25, 0.09, 0.0225)], abs=1e-6)


@pytest.fixture
def folders(tiny, tokenizer, tmp_path):
    """Two folders with the same model, and the second one's weights file."""
    for name in ("a", "b"):
        tiny.save_pretrained(tmp_path / name)
        tokenizer.save_pretrained(tmp_path / name)
    return tmp_path / "a", tmp_path / "b", tmp_path / "b" / "model.safetensors"


def test_a_score_table_belongs_to_its_teacher(folders):
    a, b, weights = folders
    one, two = [(a, 1.0)], [(b, 1.0)]
    assert teacher_fingerprint(one) == fingerprint(a) == teacher_fingerprint(two)
    refuse_other_teacher([fingerprint(a)], two)
    refuse_other_teacher([], two)
    save_file({n: t * 2 for n, t in load_file(weights).items()}, weights, {"format": "pt"})
    with pytest.raises(RosdError, match=f"with the teacher {fingerprint(a)}.*`rosd score` again"):
        refuse_other_teacher([fingerprint(a)], two)
    mix = teacher_fingerprint([(a, 0.25), (b, 0.75)])
    assert mix == f"0.25 x {fingerprint(a)} + 0.75 x {fingerprint(b)}"


def test_rollouts_of_other_weights_are_refused(tiny, folders, tmp_path):
    path = tmp_path / "r.parquet"
    rollouts(tiny, path, Decoding(1.0, 1.0, 2, True))
    with pytest.raises(RosdError, match="sampled by the weights 0123456789abcdef"):
        refuse_other_student(path, folders[0])


def test_a_teacher_of_another_tokenizer_is_refused(folders, tokenizer):
    file = folders[1] / "tokenizer.json"
    refuse_other_tokenizer(folders[1], tokenizer)
    data = json.loads(file.read_text())
    vocabulary = data["model"]["vocab"]
    vocabulary["7"], vocabulary["8"] = vocabulary["8"], vocabulary["7"]
    file.write_text(json.dumps(data))
    seven, eight = tokenizer.convert_tokens_to_ids(["7", "8"])
    with pytest.raises(RosdError, match=f"'7' is id {seven} for the student and {eight} for"):
        refuse_other_tokenizer(folders[1], tokenizer)


def test_a_teacher_with_a_longer_head_is_refused(folders, tiny, tokenizer):
    a, b, _ = folders
    from rosd_core.models.loading import load_plain

    wider = load_plain(a)
    wider.resize_token_embeddings(wider.config.vocab_size + 8)
    wider.save_pretrained(b)
    load_pair(a, [(a, 1.0)], "cpu", 0)
    with pytest.raises(RosdError, match=r"the head of .* rows, that of the student"):
        load_pair(a, [(b, 1.0)], "cpu", 0)
    student = Student(load_plain(a))
    assert open_teacher([(a, 1.0)], "cpu", 0, student, "none") is not None
    with pytest.raises(RosdError, match=r"the head of .* rows, that of the student"):
        open_teacher([(b, 1.0)], "cpu", 0, student, "none")  # the pair is never opened there
