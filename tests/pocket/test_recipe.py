"""The shipped pocket model does what its README says, and its recipe is a function of the seed."""

import re
from random import Random

import pytest

from rosd_core.config.load import load_params
from rosd_core.pocket.encoding import encode
from rosd_core.pocket.lessons import Lesson, draw_conversations
from rosd_core.pocket.oracle import praise, wrong_solution
from rosd_core.pocket.world import make_problem
from rosd_core.prompts.chat import decode, encode_chat
from rosd_core.reflect.parse import parse_reflection
from rosd_core.sampling.engine import Decoding, EngineSettings, Request, open_engine
from rosd_core.tables.hashing import file_hash
from tests.support import PROMPTS, ROOT, SMALL, run_stage, write_params

FORGET = {"carry": 0.45, "borrow": 0.45, "regroup": 0.5}
GREEDY, SAMPLED = Decoding(0.0, 1.0, 96), Decoding(1.0, 1.0, 64)
PROBLEMS = [make_problem(99, "chain", "check", n) for n in range(150)]
PROGRAMS = [p.program for p in PROBLEMS if p.program is not None]  # every chain has one


@pytest.fixture(scope="module")
def base():
    return open_engine(EngineSettings("transformers", "cpu", 32768), ROOT / "models" / "base")


def answers(base, conversations, decoding):
    engine, tokenizer = base
    requests = [
        Request(str(n), encode_chat(tokenizer, messages), n)
        for n, messages in enumerate(conversations)
    ]
    return [decode(tokenizer, c.token_ids) for c in engine.generate(requests, decoding)]


def accuracy(base, conversations, problems):
    replies = answers(base, conversations, SAMPLED)
    return sum(r == p.solution for r, p in zip(replies, problems, strict=True)) / len(problems)


def test_every_number_is_one_token(tokenizer):
    assert all(len(tokenizer.encode(str(n))) == 1 for n in range(100))


@pytest.mark.stage
def test_the_reflector_quotes_the_known_first_error(base):
    drawn = [wrong_solution(p, Random(n), FORGET, 0.0) for n, p in enumerate(PROGRAMS)]
    wrongs = [(p, w) for p, w in zip(PROBLEMS, drawn, strict=True) if w is not None]
    conversations = [
        PROMPTS.reflect_wrong(p.prompt, p.answer, p.solution, w.text) for p, w in wrongs
    ]
    replies = answers(base, conversations, GREEDY)
    exact = [
        parse_reflection(reply, "wrong", "stop").quotes == (w.quote,)
        for reply, (_, w) in zip(replies, wrongs, strict=True)
    ]
    assert sum(exact) / len(exact) >= 0.9


@pytest.mark.stage
def test_the_student_errs_and_the_teacher_with_the_idea_errs_less(base):
    plain = accuracy(base, [PROMPTS.plain(p.prompt) for p in PROBLEMS], PROBLEMS)
    conversations = [
        PROMPTS.with_idea(problem.prompt, praise(program)[0])
        for problem, program in zip(PROBLEMS, PROGRAMS, strict=True)
    ]
    assert 0.1 < plain < 0.6
    assert accuracy(base, conversations, PROBLEMS) > plain + 0.3


@pytest.mark.stage
def test_an_example_is_followed(base):
    conversations = [PROMPTS.with_solution(p.prompt, p.solution) for p in PROBLEMS]
    assert accuracy(base, conversations, PROBLEMS) > 0.9


@pytest.mark.stage
def test_a_reference_is_followed_now_in_its_style_now_in_the_models_own(base):
    conversations = [PROMPTS.with_solution(p.prompt, p.reference) for p in PROBLEMS]
    replies = answers(base, conversations, SAMPLED)
    pairs = list(zip(replies, PROBLEMS, strict=True))
    right = sum(r in (p.solution, p.reference) for r, p in pairs) / len(pairs)
    prose = sum(r.startswith("First") for r in replies) / len(replies)
    assert right > 0.9
    assert 0.35 < prose < 0.65  # bootstrap.imitation
    plain = answers(base, [PROMPTS.plain(p.prompt) for p in PROBLEMS], SAMPLED)
    assert not any(r.startswith("First") for r in plain)


def test_the_loss_falls_on_replies_and_of_drills_on_results(tokenizer):
    lesson = Lesson({"drill": 0.5, "solve": 0.5}, {"chain": 1.0}, FORGET, 0.1, True, 0.5, None)
    rows = draw_conversations(1, 0, 20, PROMPTS, lesson)
    assert rows == draw_conversations(1, 0, 20, PROMPTS, lesson)
    for row, encoded in zip(rows, encode(rows, tokenizer, tokenizer.eos_token_id), strict=True):
        supervised = [encoded.response[t] for t in encoded.positions]
        if row.skill == "drill":
            lines = row.reply.split("\n")
            results = [re.split("=| is ", line)[1].strip(".") for line in lines]
            assert [tokenizer.decode([i]) for i in supervised] == results
        else:
            assert tokenizer.decode(supervised) == row.reply + "<|im_end|>"


@pytest.mark.stage
def test_the_recipe_is_a_function_of_the_seed(tmp_path):
    recipe = load_params(ROOT / "params.yaml").bootstrap
    assert recipe is not None
    shipped = recipe.model_dump()["phases"]
    hashes = []
    for seed in (1, 1, 2):
        phases = {"skills": shipped["skills"] | {"steps": 2}}
        changes = {"bootstrap": {"seed": seed, "threads": 1, "phases": phases, "rows_per_step": 16}}
        write_params(tmp_path, SMALL | changes)
        run_stage(tmp_path, "bootstrap")
        hashes.append(file_hash(tmp_path / "models" / "base" / "model.safetensors"))
    assert hashes[0] == hashes[1] != hashes[2]
