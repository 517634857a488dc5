"""From a file's columns to a domain."""

import polars as pl
import pytest

from rosd_core.errors import RosdError
from rosd_core.graders.graders import GRADERS
from rosd_core.project.examples import solved_examples
from rosd_core.project.layout import domain_name, domain_of
from rosd_core.project.texts import REQUESTS, prompt_texts

FILES = {"train_file": "a/train.jsonl", "test_file": None}


def domain(columns, wanted=None, grader=None):
    return domain_of(pl.DataFrame(columns), FILES, wanted, grader)[0]


def test_known_layouts_are_recognised():
    science = {"kind": ["mcq"], "prompt": ["p"], "answer": ["A"], "system": ["s"]}
    assert domain(science)["task"] == "sciknoweval"
    assert domain({"question": ["q"], "answer": ["so 2\n#### 2"]})["task"] == "gsm8k"
    assert domain({"question": ["q"], "answer": ["2"]})["task"] == "table"


def test_columns_are_found_by_their_usual_names_or_named():
    found = domain({"Question": ["q"], "gold": ["x y"], "cot": ["c"], "id": [1]})
    assert found["columns"] == {"prompt": "Question", "answer": "gold", "solution": "cot"}
    named = domain({"a": ["q"], "b": ["1"], "solution": ["s"]}, {"prompt": "a", "answer": "b"})
    assert named["columns"] == {"prompt": "a", "answer": "b", "solution": "solution"}
    # `output` is not an answer where the user took it for the solution
    both = domain({"input": ["q"], "target": ["1"], "output": ["o"]}, {"solution": "output"})
    assert both["columns"] == {"prompt": "input", "answer": "target", "solution": "output"}


@pytest.mark.parametrize(
    ("answers", "grader"),
    [
        (["A", "C"], "mcq"),
        (["12", "-3.5", "1,000", "$4", "5 %"], "last_number"),
        (["12", "x"], "answer_line"),
        (["\\frac{1}{2}"], "math"),
        (["She has $16.\n16-3=13\nA: 13", "$7 a day.\nA: 7"], "last_number"),
        (["So\n$\\boxed{2\\sqrt{3}}$", "Then\n$\\boxed{\\frac{3}{4}}$"], "math"),
        (["So\nthe answer is $\\pi$", "7"], "math"),
    ],
)
def test_the_grader_fits_the_answers(answers, grader):
    found = domain({"question": ["q"] * len(answers), "answer": answers})
    assert found["grader"] == grader
    assert grader in GRADERS


@pytest.mark.parametrize(
    ("columns", "wanted", "grader", "message"),
    [
        ({"x": ["q"], "y": ["1"]}, None, None, "train.jsonl: no column looks like the prompt"),
        ({"x": ["q"], "y": ["1"]}, {"prompt": "z"}, None, "--columns prompt=z: there is no such"),
        ({"question": ["q"], "answer": ["1"]}, None, "maths", "--grader 'maths' is unknown"),
    ],
)
def test_what_cannot_be_read_is_named(columns, wanted, grader, message):
    with pytest.raises(RosdError, match=message):
        domain(columns, wanted, grader)


def test_the_domain_is_called_after_the_folder_or_the_file():
    assert domain_name("/sets/biology/train.jsonl") == "biology"
    assert domain_name("/sets/my puzzles.csv") == "my_puzzles"


def test_every_grader_has_a_request_or_needs_none():
    assert set(REQUESTS) == set(GRADERS)
    for grader in GRADERS:
        texts = prompt_texts(grader, shown=False, forced=False)
        request = REQUESTS[grader] or ""
        assert all(texts[name].endswith(request) for name in ("plain", "with_idea"))
        assert "<error_quote>" in texts["reflect_wrong"]
        assert "<explanation>" in texts["reflect_correct"]
    assert prompt_texts("mcq", shown=True, forced=True)["plain"] == "{{ problem }}"
    assert "<" not in prompt_texts("mcq", shown=True, forced=True)["reflect_wrong"]


def test_examples_are_short_and_their_grader_accepts_them():
    def row(prompt, solution, answer="2", grader="answer_line"):
        return {"prompt": prompt, "solution": solution, "answer": answer, "grader": grader}

    rows = [
        row("long", "1 + 1 is, as everybody knows, 2"),
        row("answer", None),
        row("letter", "B.", "b", "mcq"),  # the gold answer is no capital letter
        row("good", "1+1=2"),
        *[row("also", f"{n}-{n - 2}=2, surely") for n in range(3, 8)],
    ]
    # sizes: long 4 + 41, answer 6 + 9, letter 6 + 21, good 4 + 15, also 4 + 23: the median is 27
    first, second, *_ = solved_examples(rows, 9)
    assert first == {"problem": "good", "response": "1+1=2\nAnswer: 2"}
    assert second == {"problem": "also", "response": "3-1=2, surely\nAnswer: 2"}
    assert solved_examples(rows, 9)[-1] == {"problem": "answer", "response": "Answer: 2"}
    assert len(solved_examples(rows, 9)) == 7
    assert solved_examples(rows, 1) == [first]
    assert solved_examples(rows, 0) == []
