"""Rows of the table `rollouts`: problems to requests, completions to graded responses."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import polars as pl

from rosd_core.errors import RosdError
from rosd_core.graders.graders import GRADERS, Verdict
from rosd_core.prompts.chat import decode
from rosd_core.prompts.fit import PromptBuilder
from rosd_core.sampling.engine import Completion, Request
from rosd_core.seeds import row_seed
from rosd_core.tables.row_types import ProblemRow, RolloutRow

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def sample_problems(
    problems: pl.DataFrame, count: int | str, seed: int, iteration: str
) -> list[ProblemRow]:
    """`count` problems (or `all`) drawn without replacement. The choice depends only on the seed
    and the iteration's name.

    Raises RosdError where the table holds fewer.
    """
    count = len(problems) if count == "all" else int(count)
    if len(problems) < count:
        raise RosdError(
            f"rollout.problems = {count}, but the problems table has {len(problems)} of split "
            "train. Ask for fewer, or raise train of a domain in prepare.domains."
        )
    rows = problem_rows(problems)
    return sorted(rows, key=lambda r: row_seed(seed, "problem", iteration, r["problem_id"]))[:count]


def problem_rows(problems: pl.DataFrame) -> list[ProblemRow]:
    """The rows of a problems table, which `read_table` has checked."""
    return problems.to_dicts()  # pyright: ignore[reportReturnType] (checked against the schema)


def grade(problem: ProblemRow, response: str) -> Verdict:
    """The verdict of the problem's grader. Raises RosdError for a grader that does not exist, and
    for a reward that is not in [0, 1].
    """
    if problem["grader"] not in GRADERS:
        raise RosdError(
            f"problem {problem['problem_id']}: grader {problem['grader']!r} is unknown; "
            f"there are: {', '.join(GRADERS)}."
        )
    verdict = GRADERS[problem["grader"]](response, problem)
    if not 0 <= verdict.reward <= 1:
        raise RosdError(
            f"problem {problem['problem_id']}: grader {problem['grader']!r} gives the reward "
            f"{verdict.reward:g}, which is not in [0, 1], for the response {response[:200]!r}."
        )
    return verdict


def rollout_requests(
    problems: Sequence[ProblemRow],
    samples: int | Mapping[str, int],
    builder: PromptBuilder,
    seed: int,
    name: str,
) -> tuple[list[Request], dict[str, str | None]]:
    """`samples` requests per problem, or as many as it says for a problem_id, problem by problem,
    each with a seed of its own and the row id problem_id/sample; and per problem_id, how its prompt
    was shortened.
    """
    requests, shortened = [], {}
    for problem in problems:
        problem_id = problem["problem_id"]
        prompt = builder.build(
            builder.prompts.plain, problem_id, problem["system"], problem=problem["prompt"]
        )
        ids, shortened[problem_id] = tuple(prompt.ids), prompt.shortened
        for sample in range(samples if isinstance(samples, int) else samples[problem_id]):
            row_id = f"{problem_id}/{sample}"
            requests.append(Request(row_id, ids, row_seed(seed, name, row_id)))
    return requests, shortened


def rollout_rows(
    problems: Sequence[ProblemRow],
    requests: Sequence[Request],
    completions: Sequence[Completion],
    tokenizer: "PreTrainedTokenizerBase",
    model: str,
    shortened: Mapping[str, str | None],
) -> list[RolloutRow]:
    """What was sampled, and the grader's verdict on it; `model` is the weights' fingerprint."""
    by_id = {problem["problem_id"]: problem for problem in problems}
    rows: list[RolloutRow] = []
    for request, completion in zip(requests, completions, strict=True):
        problem_id, _, sample = request.row_id.rpartition("/")
        response = decode(tokenizer, completion.token_ids)
        verdict = grade(by_id[problem_id], response)
        rows.append(
            {
                "rollout_id": request.row_id,
                "problem_id": problem_id,
                "sample": int(sample),
                "prompt_ids": list(request.prompt_ids),
                "shortened": shortened[problem_id],
                "response_ids": completion.token_ids,
                "response": response,
                "behaviour_logp": completion.logprobs,
                "student_logp": completion.model_logprobs,
                "finish_reason": completion.finish_reason,
                "reward": verdict.reward,
                "success": verdict.success,
                "parsed_answer": verdict.parsed,
                "answer_format": verdict.format,
                "feedback": verdict.feedback,
                "seed": request.seed,
                "model": model,
            }
        )
    return rows
