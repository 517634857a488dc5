"""Rollout: problems to requests, completions to graded rows."""

from collections.abc import Sequence
from typing import Any

import polars as pl
from transformers import PreTrainedTokenizerBase

from rosd_core.errors import RosdError
from rosd_core.graders.graders import GRADERS, Verdict
from rosd_core.prompts.chat import decode, encode_chat
from rosd_core.prompts.fit import fit
from rosd_core.prompts.templates import Messages, Prompts
from rosd_core.sampling.engine import Completion, Request
from rosd_core.seeds import row_seed
from rosd_core.tables.shards import Rows


def sample_problems(problems: pl.DataFrame, count: int | str, seed: int, iteration: str) -> Rows:
    """`count` problems (or `all`) drawn without replacement for an iteration: its name is the only
    thing that matters.

    Raises RosdError where the table holds fewer.
    """
    count = len(problems) if count == "all" else int(count)
    if len(problems) < count:
        raise RosdError(
            f"rollout.problems = {count}, but the problems table has {len(problems)} of split "
            "train. Ask for fewer, or raise train of a domain in prepare.domains."
        )
    rows = problems.to_dicts()
    return sorted(rows, key=lambda r: row_seed(seed, "problem", iteration, r["problem_id"]))[:count]


def grade(problem: dict[str, Any], response: str) -> Verdict:
    """The verdict of the problem's grader. Raises RosdError for a grader that does not exist."""
    if problem["grader"] not in GRADERS:
        raise RosdError(
            f"problem {problem['problem_id']}: grader {problem['grader']!r} is unknown; "
            f"there are: {', '.join(GRADERS)}."
        )
    return GRADERS[problem["grader"]](response, problem)


def rollout_requests(
    problems: Sequence[dict[str, Any]],
    samples: int,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Prompts,
    seed: int,
    name: str,
    longest: int,
) -> tuple[list[Request], dict[str, str | None]]:
    """`samples` requests per problem, problem by problem, each with a seed of its own; row id
    problem_id/sample. And by problem_id, what its prompt lacks to fit `longest` tokens.
    """
    requests, shortened = [], {}

    def encode(messages: Messages) -> list[int]:
        return encode_chat(tokenizer, messages, prompts.thinking)

    for problem in problems:
        asked = fit(
            prompts.plain,
            encode,
            longest,
            problem["problem_id"],
            problem["system"],
            problem=problem["prompt"],
        )
        ids, shortened[problem["problem_id"]] = tuple(asked.ids), asked.shortened
        for g in range(samples):
            row_id = f"{problem['problem_id']}/{g}"
            requests.append(Request(row_id, ids, row_seed(seed, name, row_id)))
    return requests, shortened


def rollout_rows(
    problems: Sequence[dict[str, Any]],
    requests: Sequence[Request],
    completions: Sequence[Completion],
    tokenizer: PreTrainedTokenizerBase,
    model: str,
    shortened: dict[str, str | None],
) -> Rows:
    """Rows of the table `rollouts`: what was sampled and what the grader says of it."""
    by_id = {p["problem_id"]: p for p in problems}
    rows = []
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
