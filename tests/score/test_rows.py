from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from rosd_core.align.contexts import CONTEXTS as ALIGN_CONTEXTS
from rosd_core.errors import RosdError
from rosd_core.forward.hidden_states import MixPart, ModelMix
from rosd_core.losses.divergence import jsd
from rosd_core.losses.support import with_tail
from rosd_core.prompts.chat import encode_chat
from rosd_core.prompts.fit import PromptBuilder
from rosd_core.score.contexts import CONTEXTS
from rosd_core.score.inputs import score_inputs, supervised_ids
from rosd_core.score.rows import ScoreSettings, score_rows
from tests.support import PROMPTS


def tables(positions=(2, 3), status="supervised", context="idea"):
    problems = pl.DataFrame(
        {"problem_id": ["p"], "prompt": ["1+1?"], "system": [None], "solution": ["1+1=2"]}
    )
    rollouts = pl.DataFrame(
        {
            "rollout_id": ["p/0", "p/1"],
            "prompt_ids": [[5, 6, 7]] * 2,
            "response_ids": [[8, 9, 10, 2], [8, 2]],
            "response": ["<think>hm</think>1+1=3", "it is 2"],
            "feedback": ["'3' is wrong.", "right"],
            "shortened": [None, None],
            "behaviour_logp": [[-0.1, -0.2, -0.3, -0.4], [-0.1, -0.2]],
            "student_logp": [[-0.5, -0.6, -0.7, -0.8], [-0.5, -0.6]],
        }
    )
    quotes = [{"char_start": None}, {"char_start": 17 + 4}]  # the 3 behind "<think>hm</think>1+1="
    reflections = pl.DataFrame({"rollout_id": ["p/0"], "idea": ["carry"], "peer_id": ["p/1"]})
    alignments = pl.DataFrame(
        {
            "rollout_id": ["p/0"],
            "problem_id": ["p"],
            "kind": ["wrong"],
            "policy": ["quote"],
            "status": [status],
            "teacher_context": [context],
            "weight": [1.0],
            "positions": [list(positions)],
            "quotes": [quotes],
        }
    )
    return {
        "problems": {"p": problems.to_dicts()[0]},
        "alignments": alignments.to_dicts(),
        "rollouts": rollouts.to_dicts(),
        "reflections": reflections.to_dicts(),
        "peers": rollouts.to_dicts(),
    }


def inputs(tokenizer, *args, **changes):
    builder = PromptBuilder(PROMPTS, tokenizer, 128)
    return score_inputs(**tables(*args, **changes), builder=builder)


def scored(row_input, tiny, support) -> dict[str, Any]:
    """Its score row; student and teacher are the same model."""
    mix = ModelMix((MixPart(tiny),), 0)
    (row,) = score_rows(
        [row_input], mix, mix, ScoreSettings("topk", support, 4, 100, "keep", 0.05, 3)
    )
    return dict(row)


def test_inputs_hold_the_suffix_and_the_teacher_reads_the_idea(tokenizer):
    (row_input,) = inputs(tokenizer)
    assert row_input["behaviour_logp"] == pytest.approx([-0.3, -0.4])  # tokens 2 and 3 of 0..3
    idea = encode_chat(tokenizer, PROMPTS.with_idea("1+1?", "carry"))
    assert list(row_input["teacher_prompt_ids"]) == idea
    for context, solution in (("peer", "it is 2"), ("reference", "1+1=2")):
        (row_input,) = inputs(tokenizer, context=context)
        prompt = encode_chat(tokenizer, PROMPTS.with_solution("1+1?", solution))
        assert list(row_input["teacher_prompt_ids"]) == prompt
    (row_input,) = inputs(tokenizer, context="plain")
    assert list(row_input["teacher_prompt_ids"]) == row_input["prompt_ids"] == [5, 6, 7]
    assert inputs(tokenizer, status="skipped") == []


def test_the_teacher_reads_the_graders_words_on_the_attempt_without_its_thinking(tokenizer):
    for context, solution in (("feedback", ""), ("feedback_peer", "it is 2")):
        (row_input,) = inputs(tokenizer, context=context)
        messages = PROMPTS.with_feedback("1+1?", "1+1=3", solution, "'3' is wrong.")
        assert list(row_input["teacher_prompt_ids"]) == encode_chat(tokenizer, messages)
    # without a peer: no example
    (message,) = PROMPTS.with_feedback("P", "A", "", "F")
    assert message["content"] == "P\nWrong:\nA\nHint: F"
    (message,) = PROMPTS.with_feedback("P", "A", "S", "F")
    assert message["content"] == "P\nExample:\nS\nWrong:\nA\nHint: F"


def test_the_teacher_reads_the_critique(tokenizer):
    (row_input,) = inputs(tokenizer, context="critique")
    messages = PROMPTS.with_critique("1+1?", "Wrong: 1+1=3\nWhy: carry")
    assert list(row_input["teacher_prompt_ids"]) == encode_chat(tokenizer, messages)
    rows = tables(context="critique")
    rows["alignments"] = [row | {"quotes": None} for row in rows["alignments"]]
    with pytest.raises(RosdError, match="there is no critique"):
        score_inputs(**rows, builder=PromptBuilder(PROMPTS, tokenizer, 128))


def test_a_context_without_its_text_is_named(tokenizer):
    rows = tables(context="feedback_peer")
    rows["peers"] = []
    builder = PromptBuilder(PROMPTS, tokenizer, 128)
    with pytest.raises(RosdError, match=r"p/0: its teacher context is feedback_peer, .* no sol"):
        score_inputs(**rows, builder=builder)


def test_align_and_score_know_the_same_contexts():
    assert set(ALIGN_CONTEXTS) == {*CONTEXTS, "plain", "none"}  # these two need no text


@pytest.mark.parametrize("support", ["student", "teacher"])
def test_one_model_on_one_prompt_does_not_diverge_from_itself(tiny, tokenizer, support):
    (row_input,) = inputs(tokenizer)
    same_prompt = row_input | {"teacher_prompt_ids": row_input["prompt_ids"]}
    row = scored(same_prompt, tiny, support)
    assert np.allclose(row["divergence"], 0, atol=1e-6)
    assert row["student_logp"] == pytest.approx(row["teacher_logp"], abs=1e-6)
    assert [len(ids) for ids in row["support_ids"]] == [4, 4]


def test_the_support_is_of_whom_it_says_and_the_targets_are_the_teachers(tiny, tokenizer):
    (row_input,) = inputs(tokenizer)
    by_student, by_teacher = (scored(row_input, tiny, s) for s in ("student", "teacher"))
    assert by_student["teacher_logp"] == pytest.approx(by_teacher["teacher_logp"], abs=1e-6)
    assert by_student["support_ids"].tolist() != by_teacher["support_ids"].tolist()
    # the teacher's own top ids come in falling order; on the student's ids they need not
    for logp in by_teacher["support_logp"].tolist():
        assert logp == sorted(logp, reverse=True)
    for row in (by_student, by_teacher):
        total = np.exp(row["support_logp"]).sum(-1) + np.exp(row["tail_logp"])
        assert np.allclose(total, 1, atol=1e-5)
        assert min(row["divergence"]) > 0


def test_every_column_is_that_of_plain_forward_passes(tiny, tokenizer):
    (row_input,) = inputs(tokenizer)
    row = scored(row_input, tiny, "student")
    logps = {}
    for name in ("prompt_ids", "teacher_prompt_ids"):
        ids = torch.tensor([[*row_input[name], *row_input["response_ids"]]])
        places = [len(row_input[name]) + t - 1 for t in row_input["positions"]]
        with torch.no_grad():
            logps[name] = tiny(ids).logits[0, places].log_softmax(-1)
    student, teacher = logps["prompt_ids"], logps["teacher_prompt_ids"]
    sampled = torch.tensor([[10], [2]])  # positions 2 and 3 of 8, 9, 10, 2
    top = student.topk(4).indices
    assert np.allclose(row["student_logp"], student.gather(1, sampled)[:, 0], atol=1e-5)
    assert np.allclose(row["teacher_logp"], teacher.gather(1, sampled)[:, 0], atol=1e-5)
    assert (row["support_ids"] == top.numpy()).all()
    assert np.allclose(row["support_logp"], teacher.gather(1, top), atol=1e-5)
    both = [with_tail(x.gather(1, top)) for x in (student, teacher)]
    assert np.allclose(row["divergence"], jsd(both[0], both[1], 0.5), atol=1e-6)
    entropy = -(student.exp() * student).sum(-1)  # over all ids, not the 4 of the support
    assert np.allclose(row["student_entropy"], entropy, atol=1e-5)
    for name, logp in (("student", student), ("teacher", teacher)):
        likeliest = logp.topk(3)
        assert (row[f"{name}_top_ids"] == likeliest.indices.numpy()).all()
        assert np.allclose(row[f"{name}_top_logp"], likeliest.values, atol=1e-5)


def test_where_nothing_is_supervised_the_reasons_are_counted():
    reasons = ["no_quote"] * 3 + ["no_success"] * 2 + [None]
    rows = pl.DataFrame({"rollout_id": list("abcdef"), "skip_reason": reasons})
    rows = rows.with_columns(status=pl.lit("skipped"))
    message = "a: none of 6 rows is supervised: 3 no_quote, 2 no_success. .*prompts.reflect_wrong"
    with pytest.raises(RosdError, match=message):
        supervised_ids(rows, Path("a"))
    some = rows.with_columns(status=pl.Series(["skipped"] * 5 + ["supervised"]))
    assert supervised_ids(some, Path("a")) == ["f"]


def test_a_row_beyond_the_context_is_kept_with_its_status(tiny, tokenizer):
    (row_input,) = inputs(tokenizer)
    row = scored(row_input | {"teacher_prompt_ids": [5] * 126}, tiny, "student")
    assert (row["status"], row["support_ids"], row["behaviour_logp"]) == ("too_long", (), [])


def test_without_a_teacher_the_tokens_are_kept(tiny, tokenizer):
    (row_input,) = inputs(tokenizer, context="none")
    row = scored(row_input, tiny, "student")
    assert (row["status"], row["support"], len(row["teacher_prompt_ids"])) == (
        "no_teacher", "none", 0,
    )  # fmt: skip
    assert (row["positions"], row["weight"], row["support_ids"]) == ([2, 3], 1.0, ())
    assert row["student_logp"] == pytest.approx([-0.7, -0.8])  # of the rollout


def test_a_row_left_to_score_starts_where_the_teacher_disagrees(tiny, tokenizer):
    (row_input,) = inputs(tokenizer, positions=(0, 1, 2, 3))
    whole = scored(row_input, tiny, "student")
    mix = ModelMix((MixPart(tiny),), 0)
    # just below the largest divergence: that token is the first above it
    first = int(np.argmax(whole["divergence"]))
    settings = ScoreSettings(
        "topk", "student", 4, 100, "keep", whole["divergence"][first] * 0.999, 3
    )
    row_input["policy"] = "divergence"
    (row,) = score_rows([row_input], mix, mix, settings)
    assert row["positions"] == [0, 1, 2, 3][first:]
    for name in ("teacher_logp", "support_ids", "support_logp", "tail_logp", "divergence"):
        assert np.array_equal(np.asarray(row[name]), whole[name][first:]), name
    nowhere = ScoreSettings("topk", "student", 4, 100, "keep", 0.69, 3)
    (row,) = score_rows([row_input], mix, mix, nowhere)
    assert (row["status"], row["positions"], len(row["divergence"])) == ("no_divergence", [], 0)


def test_batches_do_not_change_the_scores(tiny, tokenizer):
    """Rows of different lengths, all at once and one by one."""
    (row_input,) = inputs(tokenizer)
    rows: Any = [row_input | {"teacher_prompt_ids": [5] * n} for n in (3, 30, 60)]
    mix = ModelMix((MixPart(tiny),), 0)
    whole, single = (
        score_rows(rows, mix, mix, ScoreSettings("topk", "student", 4, tokens, "keep", 0.05, 3))
        for tokens in (10_000, 1)
    )
    for one, other in zip(whole, single, strict=True):
        assert np.allclose(one["teacher_logp"], other["teacher_logp"], atol=1e-5)
        assert np.array_equal(one["support_ids"], other["support_ids"])
