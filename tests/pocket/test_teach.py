"""Teaching a pretrained model: the loss, the measurement, the course, and stops at any moment."""

import copy
import json
import math
import re
from dataclasses import replace

import pytest
import torch

from rosd_core.distill.checkpoint import last_save
from rosd_core.errors import RosdError
from rosd_core.forward.packing import packed_attention
from rosd_core.pocket.checkpoint import Progress, restore, save
from rosd_core.pocket.course import Course, Part
from rosd_core.pocket.encoding import Encoded, encode
from rosd_core.pocket.lessons import Lesson
from rosd_core.pocket.measure import Exam, idea_pairs, measure, set_exam
from rosd_core.pocket.recipe import Phase
from rosd_core.pocket.reply_loss import backward, read_rows, share_start
from rosd_core.pocket.teach import Teaching, teach
from tests.support import PROMPTS

FORGET = {"carry": 0.45, "borrow": 0.45, "regroup": 0.5}


def part(name: str, steps: int, mix: dict[str, float], rate: float = 0.1) -> Part:
    lesson = Lesson(mix, {"chain": 1.0}, FORGET, 0.1, True, 0.5, None)
    return Part(name, Phase(steps, rate, final_rate=1.0, warmup=2), lesson)


COURSE = Course(7, 6, PROMPTS, [part("first", 3, {"drill": 1.0}, 0.2),
                                part("second", 4, {"solve": 0.5, "with_idea": 0.5})])  # fmt: skip


def test_a_step_belongs_to_a_part_and_has_its_rate():
    """Parts of 3 and 4 steps; final_rate 1, so that the rate is constant after a warm-up of 2."""
    assert COURSE.steps == 7
    places = [(p.name, n) for p, n in map(COURSE.place, range(7))]
    assert places == [("first", n) for n in range(3)] + [("second", n) for n in range(4)]
    assert [COURSE.rate(n) for n in range(5)] == pytest.approx([0.1, 0.2, 0.2, 0.05, 0.1])
    with pytest.raises(IndexError):
        COURSE.place(7)
    assert {row.skill for row in COURSE.draw(2)} == {"drill"}
    assert COURSE.draw(3) == COURSE.draw(3) != COURSE.draw(4)


def test_what_all_prompts_start_with_is_shared():
    rows = [Encoded([1, 2, 3], [9, 8], [0, 1]), Encoded([1, 2, 4, 5], [9], [0])]
    # in common: 1 2. The rest of a prompt moves to its response, and the positions with it
    assert share_start(rows) == [
        Encoded([1, 2], [3, 9, 8], [1, 2]),
        Encoded([1, 2], [4, 5, 9], [2]),
    ]
    alone = [Encoded([1, 2], [3], [0]), Encoded([1, 2, 4], [3], [0])]
    assert share_start(alone) == [Encoded([1, 2], [3], [0]), Encoded([1, 2], [4, 3], [1])]


def test_the_loss_is_that_of_every_row_alone(tiny, tokenizer):
    rows = encode(COURSE.draw(4), tokenizer, tokenizer.eos_token_id)
    total, count = 0.0, 0
    for prompt, response, positions in rows:
        with torch.no_grad():
            logits = tiny(torch.tensor([prompt + response])).logits[0].log_softmax(-1)
        total -= sum(logits[len(prompt) + t - 1, response[t]].item() for t in positions)
        count += len(positions)
    for batch_tokens in (50, 5000):
        with packed_attention(tiny):
            loss = backward(tiny, rows, 0, batch_tokens, "none")
        assert loss == pytest.approx(total / count, rel=1e-4)
        read = read_rows_of(tiny, rows, batch_tokens)
        assert sum(logp.sum().item() for logp, _ in read) == pytest.approx(-total, rel=1e-4)
        assert [len(logp) for logp, _ in read] == [len(row.positions) for row in rows]
    tiny.zero_grad(set_to_none=True)


def read_rows_of(model, rows, batch_tokens=200):
    with packed_attention(model):
        return read_rows(model, rows, 0, batch_tokens, "none")


def test_a_step_that_diverges_stops_before_the_weights_move(tiny, tmp_path):
    model = copy.deepcopy(tiny)
    with torch.no_grad():
        model.model.norm.weight.fill_(math.nan)
    before = model.lm_head.weight.clone()
    rows, exam = [Encoded([1, 2], [3, 4], [0, 1])], Exam({}, [], [])
    teaching = Teaching((0.9, 0.98), 0.0, 1.0, 100, "none", 1, 1, {})
    with pytest.raises(RosdError, match="diverged at step 0: loss nan, gradient norm nan"):
        teach(model, COURSE, lambda _: rows, exam, teaching, 0, tmp_path, {})
    assert torch.equal(model.lm_head.weight, before)
    assert list(tmp_path.iterdir()) == []


def test_ideas_are_asked_at_the_first_error(tokenizer):
    for (plain, reply, spans), (given, same, _) in idea_pairs(COURSE, 20):
        assert same == reply
        problem, _, hint = given[0]["content"].partition("\nHint: ")
        assert plain[0]["content"] == problem
        last = reply.split("\n")[-1]
        expression, _, result = last.partition("=")
        # the idea names the very calculation, and the result is right
        assert hint.startswith(f"In {expression} the ones ")
        assert eval(expression) == int(result)
        assert spans is not None
        assert reply[slice(*spans[0])] == result
        assert spans[0][1] == len(reply)
    exam = set_exam(COURSE, 20, tokenizer, tokenizer.eos_token_id)
    assert len(exam.with_idea) == len(exam.without_idea) == 20
    assert sum(map(len, exam.conversations.values())) == 20
    for row in exam.with_idea:  # the pocket tokenizer reads a number as one token
        assert len(row.positions) == 1


def test_the_measurement_by_hand():
    """Two ideas with results of 2 and 1 tokens. Without: p = 1/2 * 1/4 and 1/2; with: 1 * 1/2 and
    1/2. idea_gain = mean of (ln 1, ln 1/2, ln 1/2) - mean of (ln 1/2, ln 1/4, ln 1/2)
    = (-2 + 4) ln 2 / 3. right_with = (1/2 + 1/2) / 2, right_without = (1/8 + 1/2) / 2.
    """
    row = Encoded([1], [2], [0])
    answers = {
        "solve": [([0.5], [True]), ([0.5, 0.5], [True, False])],
        "without": [([0.5, 0.25], [False, False]), ([0.5], [False])],
        "with": [([1.0, 0.5], [True, True]), ([0.5], [True])],
    }
    rows = {name: [row] * 2 for name in answers}
    names = {id(some): name for name, some in rows.items()}

    def read(some):
        found = answers[names[id(some)]]
        return [(torch.tensor(p).log(), torch.tensor(right)) for p, right in found]

    found = measure(Exam({"solve": rows["solve"]}, rows["without"], rows["with"]), read)
    assert found == pytest.approx(
        {
            "exact_solve": 0.5,
            "idea_gain": 2 * math.log(2) / 3,
            "right_with_idea": 0.5,
            "right_without": 0.3125,
        }
    )


def test_a_save_is_whole_and_belongs_to_one_training(tmp_path):
    weight = torch.nn.Parameter(torch.tensor([1.0, 2.0]))
    optimizer = torch.optim.AdamW([weight], lr=0.1)
    weight.sum().backward()
    optimizer.step()
    kept = weight.detach().clone()
    progress, begun = Progress(5, 1.5, [0.5], [{"step": 4, "loss": 1.0}]), {"seed": 1, "mix": {}}
    assert last_save(tmp_path) is None
    save(tmp_path, {"w": weight}, optimizer, progress, begun)
    (tmp_path / ".step-0000012.tmp").mkdir()  # of a save that was killed
    assert last_save(tmp_path) == tmp_path / "step-0000005"
    assert (tmp_path / "curve.csv").read_text().split() == ["step,loss", "4,1.000000"]
    other = torch.nn.Parameter(torch.zeros(2))
    again = torch.optim.AdamW([other], lr=0.1)
    assert restore(tmp_path / "step-0000005", {"w": other}, again, begun) == progress
    assert torch.equal(other, kept)
    assert torch.equal(again.state[other]["exp_avg"], optimizer.state[weight]["exp_avg"])
    with pytest.raises(RosdError, match="stopped there after 5 steps, with seed = 1; now it is 2"):
        restore(tmp_path / "step-0000005", {"w": other}, again, begun | {"seed": 2})
    save(tmp_path, {"w": weight}, optimizer, Progress(10, 2.0, [], []), begun)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["curve.csv", "step-0000010"]
    assert json.loads((tmp_path / "step-0000010" / "progress.json").read_text())["step"] == 10


def test_ideas_of_a_world_of_weak_digits_are_of_weak_steps():
    """Where mastered steps are never forgotten, an idea can help at the weak ones alone."""
    weak = {"carry": [8, 9], "borrow": [8, 9], "regroup": [2, 3]}
    last = COURSE.parts[-1]
    lesson = replace(last.lesson, weak_digits=weak)
    pairs = idea_pairs(replace(COURSE, parts=[replace(last, lesson=lesson)]), 20)
    rules = {"+": "carry", "-": "borrow", "*": "regroup"}
    for (_, reply, _), _ in pairs:
        step = re.fullmatch(r"\d+([-+*])(\d+)=\d+", reply.split("\n")[-1])
        assert step is not None
        assert int(step[2]) % 10 in weak[rules[step[1]]]
