"""The prompts of a new project. They ask for the answer in the form that the grader reads, and
reflections for the tags that `reflect` reads.
"""

from collections.abc import Mapping
from typing import Any

# grader -> how the response has to end; None: the data's own prompt or system message says so
REQUESTS = {
    "answer_line": "Reason step by step. End with a line `Answer: ` and the answer alone.",
    "last_number": "Reason step by step. End with the answer as a number.",
    "math": "Reason step by step, and put the final answer within \\boxed{}.",
    "mcq": "Reason step by step, then give the letter alone between <answer> and </answer>.",
    "exact": "Give the answer alone.",
    "tool_use": None,
    "reasoning_gym": None,
}

SOLVED = """\
{{ problem }}

The right answer is {{ gold }}.

Correct solution:
{{ correct }}

"""
WRONG = """\
Wrong solution:
{{ wrong }}

Where does the wrong solution first go wrong? Copy that place word for word, then say in one or \
two sentences what is wrong there and how to correct it."""
CORRECT = "Say in one or two sentences which idea makes it right."
WRONG_FORMAT = """\
 Do not write out the whole solution. Answer with these two parts and nothing else:
<error_quote>the exact words of the wrong solution</error_quote>
<explanation>what is wrong and how to correct it</explanation>"""
CORRECT_FORMAT = """\
 Do not write out the whole solution. Answer with this part and nothing else:
<explanation>why it is right</explanation>"""


def prompt_texts(grader: str, shown: bool, forced: bool) -> dict[str, str]:
    """The templates.

    Student and teacher get the same request for the form of the answer, unless it is `shown` by the
    data's system message or by solved examples. Reflections are asked for their tags, unless a
    grammar writes these (`forced`).
    """
    request = None if shown else REQUESTS[grader]
    end = f"\n\n{request}" if request else ""
    return {
        "plain": "{{ problem }}" + end,
        "reflect_wrong": SOLVED + WRONG + WRONG_FORMAT * (not forced),
        "reflect_correct": SOLVED + CORRECT + CORRECT_FORMAT * (not forced),
        "with_idea": "{{ problem }}\n\nA hint: {{ idea }}" + end,
        "with_solution": "{{ problem }}\n\nA correct solution:\n{{ solution }}\n\n"
        "Now solve the problem yourself." + end,
        "with_feedback": "{{ problem }}"
        "{% if solution %}\n\nA correct solution:\n{{ solution }}{% endif %}"
        "\n\nAn attempt that failed:\n{{ attempt }}\n\nFeedback on it: {{ feedback }}\n\n"
        "Now solve the problem yourself." + end,
        "with_critique": "{{ problem }}\n\nAn attempt, checked step by step:\n{{ critique }}\n\n"
        "Now solve the problem yourself." + end,
    }


def worked_response(row: Mapping[str, Any]) -> str:
    """A row's solution, as far as it has one, and its answer in the form that its grader reads."""
    answer = row["answer"]
    endings = {
        "answer_line": f"Answer: {answer}",
        "last_number": f"Answer: {answer}",
        "math": f"\\boxed{{{answer}}}",
        "mcq": f"<answer>{answer}</answer>",
    }
    parts = (row["solution"], endings.get(row["grader"], answer if not row["solution"] else None))
    return "\n".join(part for part in parts if part)
