"""Groups without success."""

import polars as pl
import pytest

from rosd_core.prompts.fit import PromptBuilder
from rosd_core.reflect.no_success import use_references
from rosd_core.reflect.peers import choose_peers
from rosd_core.reflect.rows import reflection_tasks
from tests.support import PROMPTS

# p: no success, with a solution; q: no success, without one; r: a success
ROLLOUTS = pl.DataFrame(
    {
        "rollout_id": ["p/0", "q/0", "r/0", "r/1"],
        "problem_id": ["p", "q", "r", "r"],
        "success": [False, False, False, True],
        "response": ["1+1=3", "5", "7", "<think>hm</think>it is 8"],
    }
)
PROBLEMS = pl.DataFrame(
    {
        "problem_id": ["p", "q", "r"],
        "prompt": ["1+1?", "2+2?", "4+4?"],
        "system": pl.Series([None] * 3, dtype=pl.String),
        "answer": ["2", "4", "8"],
        "solution": ["1+1=2", None, "4+4=8"],
    }
)


@pytest.mark.parametrize(
    ("enabled", "no_success", "reasons"),
    [
        (True, "skip", ["no_success", "no_success", None, None]),
        (True, "reference", [None, "no_success", None, None]),
        (False, "reference", ["disabled"] * 4),
    ],
)
def test_only_groups_with_a_reference_are_taken(enabled, no_success, reasons):
    peers = choose_peers(ROLLOUTS, 1, enabled, "random")
    chosen = use_references(peers, PROBLEMS, no_success)
    assert chosen["skip_reason"].to_list() == reasons
    assert chosen.drop("skip_reason").equals(peers.drop("skip_reason"))


def test_the_reflector_reads_the_reference_in_place_of_the_peer(tokenizer):
    peers = use_references(choose_peers(ROLLOUTS, 1, True, "random"), PROBLEMS, "reference")
    problems = {row["problem_id"]: row for row in PROBLEMS.to_dicts()}
    response = dict(ROLLOUTS.select("rollout_id", "response").iter_rows())
    builder = PromptBuilder(PROMPTS, tokenizer, 400)
    tasks = reflection_tasks(problems, response, peers.to_dicts(), builder)
    messages = [task.prompt and task.prompt.messages for task in tasks]
    assert messages[:3] == [
        PROMPTS.reflect_wrong("1+1?", "2", "1+1=2", "1+1=3"),
        None,
        PROMPTS.reflect_wrong("4+4?", "8", "it is 8", "7"),
    ]
    assert tasks[0].peer_id is None
