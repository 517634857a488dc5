"""Rows of the table `evaluation`, from rollouts of the test problems."""

from collections.abc import Sequence

from rosd_core.tables.row_types import EvaluationRow, ProblemRow, RolloutRow


def evaluation_rows(
    rollouts: Sequence[RolloutRow], problems: Sequence[ProblemRow], iteration: str
) -> list[EvaluationRow]:
    domain = {problem["problem_id"]: problem["domain"] for problem in problems}
    return [
        {
            "iteration": iteration,
            "problem_id": row["problem_id"],
            "domain": domain[row["problem_id"]],
            "sample": row["sample"],
            "shortened": row["shortened"],
            "response": row["response"],
            "parsed_answer": row["parsed_answer"],
            "reward": row["reward"],
            "success": row["success"],
            "response_tokens": len(row["response_ids"]),
            "finish_reason": row["finish_reason"],
        }
        for row in rollouts
    ]
