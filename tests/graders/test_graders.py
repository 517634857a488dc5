"""Verdicts by hand, every gold answer of the real sets, and the published graders' defects."""

import inspect
import json
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rosd_core.graders import graders, math_worker
from rosd_core.graders.graders import GRADERS, answer_line, exact, last_boxed, math, mcq, tool_use
from rosd_core.graders.procedural import UNSAFE_GENERATORS
from rosd_core.pocket.world import DOMAINS, make_problem
from tests.support import on_fixtures_and_real_sets


def gold(answer):
    return {"answer": answer, "grader_data": None}


@pytest.mark.parametrize(
    ("response", "reward", "parsed"),
    [
        ("1+1=2\nAnswer: 2", 1.0, "2"),
        ("Answer: 3\nAnswer: 2", 1.0, "2"),  # the last one counts
        ("Answer: 3", 0.0, "3"),
        ("Answer:2\nbye", 1.0, "2"),
        ("it is 2", 0.0, None),
    ],
)
def test_answer_line(response, reward, parsed):
    verdict = answer_line(response, gold("2"))
    assert (verdict.reward, verdict.parsed) == (reward, parsed)


@pytest.mark.parametrize("domain", DOMAINS)
def test_every_reference_solution_is_right(domain):
    for index in range(50):
        problem = make_problem(1, domain, "test", index)
        assert answer_line(problem.solution, gold(problem.answer)).success


def test_exact():
    assert exact(" 2\n", gold("2")).success
    assert exact("", gold("2")).format == "missing"


@pytest.mark.parametrize(
    ("response", "reward", "form"),
    [
        ("<answer>\nB\n</answer>", 1.0, "ok"),
        ("<answer>A</answer> no: <answer>B</answer>", 1.0, "ok"),
        ("<answer>B</answer>" + " and so on" * 40, 1.0, "ok"),  # text after the answer
        ("<answer>B", 1.0, "ok"),  # cut off after the letter
        ("<answer>C</answer>", 0.0, "ok"),
        ("<answer>B: 1.69</answer>", 0.0, "malformed"),
        ("<answer></answer>", 0.0, "malformed"),
        ("It is B.", 0.0, "missing"),
    ],
)
def test_mcq(response, reward, form):
    verdict = mcq(response, gold("B"))
    assert (verdict.reward, verdict.format) == (reward, form)


CALLS = [
    {"Action": "find", "Action_Input": '{"where": {"city": "Rome", "near": [1, 2]}, "limit": 3}'},
    {"Action": "book", "Action_Input": '{"id": 7}'},
]
FIND = 'Action: find\nAction Input: {"limit": 3, "where": {"near": [1, 2], "city": "Rome"}}\n'
BOOK = 'Action: book\nAction Input: {"id": 7}\n'


@pytest.mark.parametrize(
    ("response", "reward", "form"),
    [
        ("Thought: go\n" + FIND + BOOK, 1.0, "ok"),  # nested JSON
        (BOOK + "Thought: then\n" + FIND, 1.0, "ok"),  # in any order
        (FIND.replace('"limit"', '"[Optional]limit"') + BOOK, 1.0, "ok"),  # optional arguments
        (FIND.replace("Input: ", "Input: ```json\n") + "```\n" + BOOK, 1.0, "ok"),
        # arguments swapped between calls, which merged dicts do not notice
        ('Action: find\nAction Input: {"id": 7}\nAction: book\n' + FIND.split("\n")[1], 0.0, "ok"),
        (FIND, 0.0, "ok"),
        (FIND + BOOK + BOOK, 0.0, "ok"),  # a multiset: once too often
        (FIND + "Action: book", 0.0, "malformed"),
        (FIND + "Action: book\nAction Input: {id: 7}", 0.0, "malformed"),
        ("I would look for a room.", 0.0, "missing"),
    ],
)
def test_tool_use(response, reward, form):
    verdict = tool_use(response, gold(json.dumps(CALLS)))
    assert (verdict.reward, verdict.format) == (reward, form)


@pytest.mark.parametrize(
    ("answer", "right", "success"),
    [
        ("18", "18", True),
        ("1,000", "1000", True),
        ("\\$5.00", "5", True),
        ("0.5", "\\frac{1}{2}", True),
        ("(x-1)(x+1)", "x^2-1", True),
        ("2\\sqrt{2}", "\\sqrt{8}", True),
        ("(1,2)", "(1, 2)", True),
        ("3/4", "0.75", True),
        ("1{,}000", "1000", True),
        ("1,0", "10", False),  # separators are between groups of three digits
        ("12,34", "1234", False),
        ("1 0", "10", False),  # two answers
        ("5=6", "6", False),
        ("x=6", "6", True),
        ("2+3=5", "5", True),
        ("17", "18", False),
        ("x^2+1", "x^2-1", False),
        ("", "18", False),
        ("{" * 300, "18", False),
    ],
)
def test_math(answer, right, success):
    assert math(f"so \\boxed{{{answer}}}.", gold(right)).success == success


def test_the_last_box_and_the_last_hashes():
    assert last_boxed("\\boxed{1} then \\boxed{\\frac{1}{2}} cm") == "\\frac{1}{2}"
    assert last_boxed("sum\n#### 5\n") == "5"
    assert last_boxed("\\boxed{1") is None
    assert math("it is 5", gold("5")).format == "missing"


@pytest.mark.parametrize(
    ("response", "success", "form"),
    [
        ("\\boxed{5} or \\boxed{6}", False, "malformed"),
        ("\\boxed{6} = \\boxed{6.0}", True, "ok"),
        ("first \\boxed{5}\nno, it is \\boxed{6}", True, "ok"),
    ],
)
def test_two_answers_in_one_line_are_none(response, success, form):
    verdict = math(response, gold("6"))
    assert (verdict.success, verdict.format) == (success, form)


def test_the_worker_is_started_again_when_it_was_killed():
    assert math("\\boxed{\\frac{2}{4}}", gold("\\frac{1}{2}")).success
    killed = math_worker._WORKER.process
    assert killed is not None
    killed.kill()
    killed.wait()
    assert math("\\boxed{\\frac{2}{4}}", gold("\\frac{1}{2}")).success
    assert math_worker._WORKER.process is not killed


def test_the_worker_does_not_outlive_its_parent():
    # 9^9^9^9 never ends and runs in C; the parent is killed after a second
    code = (
        "import threading, time; from rosd_core.graders.math_worker import _WORKER, equal_within;"
        "equal_within('1', 'x', 30); print(_WORKER.process.pid, flush=True);"
        "equal_within('3', '9^{9^{9^{9}}}', 1.5)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    worker = int(parent.stdout.readline())
    time.sleep(0.5)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    until = time.monotonic() + 20
    while alive(worker) and time.monotonic() < until:
        time.sleep(0.1)
    assert not alive(worker)


def alive(pid):
    """Whether a process runs; one that ended and is not collected by its new parent does not."""
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


ODD = ["42", "the answer is 5", "[1, 2", "{", "a b c", '{"a": 1}', "9" * 500, "1/0", "\U0001f600"]


def test_no_scorer_of_reasoning_gym_ends_a_run():
    pytest.importorskip("reasoning_gym", reason="the extra [gym] is not installed")
    from reasoning_gym.factory import DATASETS

    errors = set()
    for name in sorted(set(DATASETS) - UNSAFE_GENERATORS - {"composite"}):
        data = {"name": name, "config": {}, "seed": 1, "size": 1, "index": 0}
        problem = {"answer": "", "grader_data": json.dumps(data)}
        for text in ODD:
            verdict = GRADERS["reasoning_gym"](f"<answer>{text}</answer>", problem)
            assert verdict.format in ("ok", "error") and 0 <= verdict.reward <= 1
            errors |= {name} if verdict.format == "error" else set()
    assert "prime_factorization" in errors  # it takes every answer for a product of integers


def test_the_time_limit_holds_in_a_thread_and_the_next_answer_is_right(monkeypatch):
    monkeypatch.setattr(graders, "MATH_SECONDS", 1.0)
    verdicts, started = [], time.monotonic()

    def work():
        verdicts.append(math("\\boxed{9^{9^{9^{9}}}}", gold("3")))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert verdicts[0].format == "timeout"
    assert time.monotonic() - started < 30
    assert math("\\boxed{\\frac{2}{4}}", gold("\\frac{1}{2}")).success


def test_a_models_text_is_not_evaluated(tmp_path):
    witness = tmp_path / "witness"
    code = f"__import__('pathlib').Path('{witness}').touch()"
    for text in (code, f"<answer>{code}</answer>", f"\\boxed{{{code}}}", f"Action: {code}"):
        for name in ("answer_line", "exact", "mcq", "math"):
            GRADERS[name](text, gold("1"))
        tool_use(text, gold(json.dumps(CALLS)))
    assert not witness.exists()


def test_generators_that_evaluate_answers_are_all_refused():
    pytest.importorskip("reasoning_gym", reason="the extra [gym] is not installed")
    from reasoning_gym.factory import DATASETS

    unsafe = set()
    for name, (kind, _) in DATASETS.items():
        source = inspect.getsource(kind.score_answer)
        for helper in set(re.findall(r"self\.(\w+)\(", source)) - {"score_answer"}:
            if callable(getattr(kind, helper, None)):
                source += inspect.getsource(getattr(kind, helper))
        if re.search(r"(?<!\w)(?:eval|exec|parse_expr|sympify|S)\(", source):
            unsafe.add(name)
    assert unsafe <= UNSAFE_GENERATORS


@given(st.text(max_size=60), st.sampled_from(["answer_line", "exact", "mcq"]))
def test_graders_never_raise(text, name):
    assert 0 <= GRADERS[name](text, gold("A")).reward <= 1


@given(st.text(alphabet='Action Input:\n{}"[]1,ab', max_size=80))
def test_tool_use_never_raises(text):
    assert tool_use("Action: " + text, gold(json.dumps(CALLS))).reward in (0.0, 1.0)


def lines(data, name):
    """The rows of all files of a set."""
    return [json.loads(line) for f in sorted((data / name).glob("t*.jsonl")) for line in f.open()]


@on_fixtures_and_real_sets
def test_every_sciknoweval_answer_scores_one(data):
    for folder in sorted((data / "sciknoweval").iterdir()):
        for row in lines(folder, "."):
            assert mcq(f"<answer>\n{row['answer']}\n</answer>", row).reward == 1


@on_fixtures_and_real_sets
def test_every_tool_use_answer_scores_one(data):
    for row in lines(data, "tooluse"):
        calls = json.loads(row["answer"])
        texts = [f"Action: {c['Action']}\nAction Input: {c['Action_Input']}" for c in calls]
        assert tool_use("\n".join(texts), row).reward == 1


@on_fixtures_and_real_sets
def test_every_gsm8k_answer_scores_one(data):
    for row in lines(data, "gsm8k"):
        answer = last_boxed(row["answer"])
        assert math(f"\\boxed{{{answer}}}", gold(answer)).reward == 1
        assert math(row["answer"], row).reward == 1


@on_fixtures_and_real_sets
def test_the_graders_agree_with_the_published_verdicts_on_solutions(data):
    """GSM8K's example solutions end in `A: number` and say whether that is right."""
    disagree = count = 0
    for line in (data / "gsm8k" / "example_model_solutions.jsonl").open():
        row = json.loads(line)
        truth = row["ground_truth"].rpartition("A:")[2].strip()
        for entry in row.values():
            if isinstance(entry, dict) and "A:" in entry["solution"]:
                answer = entry["solution"].rpartition("A:")[2].strip()
                count += 1
                disagree += math(f"#### {answer}", gold(truth)).success != entry["is_correct"]
    assert count >= 24
    assert disagree <= count * 0.002


@pytest.mark.parametrize(
    ("grader", "answer", "responses"),
    [
        ("answer_line", "417", ["", "Answer: 5", "Answer:"]),
        ("exact", "417", ["", "5"]),
        ("mcq", "Q", ["", "<answer>B</answer>", "<answer>B or C</answer>"]),
        ("math", "417", ["", r"\boxed{5}", r"\boxed{}", "#### 5", rf"\boxed{{{'x' * 501}}}"]),
        ("last_number", "417", ["", "5", "1/0"]),
        (
            "tool_use",
            '[{"Action": "gold_tool", "Action_Input": "{\\"x\\": 417}"}]',
            ["", "Action: other\nAction Input: {}", "Action: other\nAction Input: no"],
        ),
    ],
)
def test_feedback_on_a_wrong_response_does_not_hold_the_gold_answer(grader, answer, responses):
    """A teacher may read it: align.teacher_context feedback."""
    for response in responses:
        verdict = GRADERS[grader](response, gold(answer))
        assert not verdict.success
        assert verdict.feedback
        assert not any(secret in verdict.feedback for secret in ("417", "Q", "gold_tool"))
