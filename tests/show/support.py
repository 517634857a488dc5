"""A rollout by hand, in the tables of all stages.

    token   0  1 2 3 4  5  6  7 8 9 10 11 12     13 14 15 16
    text    12 + 9 = 21 \n 21 - 1 = 10 \n Answer :  _  10 <|im_end|>

The error quote `21-1=10` is characters 8 to 15, tokens 6 to 10; tokens 6 to 16 are supervised.
"""

from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from rosd_core.config.load import load_params
from rosd_core.tables.io import write_table
from rosd_core.tables.origin import Origin
from stages.consistent import STAGES
from stages.origin import params_of
from stages.paths import Paths
from tests.support import ROOT

RESPONSE = "12+9=21\n21-1=10\nAnswer: 10"
PEER = "12+9=21\n21-1=20\nAnswer: 20"
TOKENIZER = Tokenizer.from_file(str(ROOT / "models" / "base" / "tokenizer.json"))
END = 2  # <|im_end|>
PROBLEM_ID, ROLLOUT_ID, PEER_ID = "chain-train-00001", "chain-train-00001/0", "chain-train-00001/1"
DIVERGENCE = [0.0, 0.0, 0.0, 0.0, 0.5, 0.01, 0.0, 0.0, 0.0, 0.2, 0.0]  # of tokens 6 to 16


def ids_of(text: str) -> list[int]:
    return [*TOKENIZER.encode(text, add_special_tokens=False).ids, END]


def id_of(text: str) -> int:
    (found,) = ids_of(text)[:-1]
    return found


def problem(**changes: Any) -> dict:
    return {
        "problem_id": PROBLEM_ID, "domain": "chain", "task": "pocket", "split": "train",
        "system": None, "prompt": "Start with 12. Add 9. Take away 1.", "answer": "20",
        "solution": None, "grader": "number", "grader_data": None,
    } | changes  # fmt: skip


def rollout(sample: int, response: str, right: bool, **changes: Any) -> dict:
    ids = ids_of(response)
    answer = response.rpartition(" ")[2]
    return {
        "rollout_id": f"{PROBLEM_ID}/{sample}", "problem_id": PROBLEM_ID, "sample": sample,
        "prompt_ids": [1], "shortened": None, "response_ids": ids, "response": response,
        "behaviour_logp": [-0.5] * len(ids), "student_logp": [-0.5] * len(ids),
        "finish_reason": "stop", "reward": float(right), "success": right,
        "parsed_answer": answer, "answer_format": "ok", "seed": 1, "model": "m",
        "feedback": "" if right else f"The answer '{answer}' is wrong.",
    } | changes  # fmt: skip


def reflection(**changes: Any) -> dict:
    return {
        "rollout_id": ROLLOUT_ID, "problem_id": PROBLEM_ID, "kind": "wrong", "peer_id": PEER_ID,
        "messages": [], "shortened": None, "raw": "raw", "idea": "No ten is borrowed.",
        "quotes": ["21-1=10"], "status": "ok", "repairs": [], "attempts": 1, "answer_tokens": 9,
        "skip_reason": None, "model": "m",
    } | changes  # fmt: skip


def alignment(**changes: Any) -> dict:
    place = {"quote": "21-1=10", "match": "exact", "candidates": 1, "char_start": 8, "char_end": 15}
    return {
        "rollout_id": ROLLOUT_ID, "problem_id": PROBLEM_ID, "kind": "wrong",
        "teacher_context": "idea", "quotes": [place], "quotes_cut": 0,
        "positions": list(range(6, 17)), "first_token": 6, "response_tokens": 17, "weight": 1.0,
        "policy": "quote", "status": "supervised", "skip_reason": None,
    } | changes  # fmt: skip


def score(**changes: Any) -> dict:
    """The student gives the wrong `10` (token 10) 1/2, the teacher 1/20, and 9/10 to `20`."""
    ids = ids_of(RESPONSE)[6:]
    student, teacher = [0.0] * 11, [0.0] * 11
    student[4], teacher[4] = -0.6931472, -2.9957323
    support = [[token, id_of("+")] for token in ids]
    logp = [[-0.0001, -9.3]] * 4 + [[-2.9957323, -0.1053605]] + [[-0.0001, -9.3]] * 6
    support[4][1] = id_of("20")
    return {
        "rollout_id": ROLLOUT_ID, "problem_id": PROBLEM_ID, "kind": "wrong", "policy": "quote",
        "prompt_ids": [1], "teacher_prompt_ids": [1], "shortened": None,
        "response_ids": ids_of(RESPONSE), "positions": list(range(6, 17)),
        "behaviour_logp": student, "weight": 1.0, "student_logp": student,
        "teacher_logp": teacher, "support_ids": support, "support_logp": logp,
        "tail_logp": [-12.0] * 11, "divergence": DIVERGENCE, "student_entropy": [0.1] * 11,
        "student_top_ids": [], "student_top_logp": [],
        "teacher_top_ids": [], "teacher_top_logp": [],
        "teacher_hidden": None, "idea_gain": None, "support": "teacher", "status": "scored",
        "teacher": "m",
    } | changes  # fmt: skip


def rollouts(**changes: Any) -> list[dict]:
    return [rollout(0, RESPONSE, False, **changes), rollout(1, PEER, True)]


def write_project(folder: Path, key: str = "i1", **tables: list[dict] | None) -> None:
    """The tables of an iteration by hand, as if made with the params of the folder; a table that is
    None is not written.
    """
    paths, params = Paths(folder), load_params(folder / "params.yaml")
    write_table("problems", [problem()], paths.problems)
    whole: dict[str, list[dict] | None] = {
        "rollouts": rollouts(),
        "reflections": [reflection()],
        "alignments": [alignment()],
        "scores": [score()],
    }
    for table, rows in (whole | tables).items():
        if rows is not None:
            made = params_of(params, STAGES[table], key)
            origin = Origin(STAGES[table], key, made, {})
            write_table(table, rows, paths.table(table, key), origin=origin)
