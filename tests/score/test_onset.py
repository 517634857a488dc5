"""Where the supervised tokens start by divergence, with numbers by hand."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rosd_core.score.onset import TOKEN_COLUMNS, onset, start_at_onset
from rosd_core.tables.bfloat16 import from_bfloat16, to_bfloat16
from rosd_core.tables.row_types import ScoreRow
from rosd_core.tables.scores_schema import SCORES


def row(divergence=(0.01, 0.02, 0.3, 0.0), **changes) -> Any:
    """Tokens 5, 6, 7, ... of a response, two ids of support each."""
    n = len(divergence)
    columns: dict[str, Any] = {
        "positions": list(range(5, 5 + n)),
        "behaviour_logp": [-0.1 * k for k in range(n)],
        "student_logp": np.arange(n) * -0.2,
        "teacher_logp": np.arange(n) * -0.3,
        "support_ids": np.arange(2 * n).reshape(n, 2),
        "support_logp": np.arange(2 * n).reshape(n, 2) * -0.1,
        "tail_logp": np.arange(n) * -0.5,
        "divergence": np.array(divergence),
        "student_entropy": np.arange(n) * 0.1,
        "student_top_ids": np.arange(3 * n).reshape(n, 3),
        "student_top_logp": np.arange(3 * n).reshape(n, 3) * -0.1,
        "teacher_top_ids": np.arange(3 * n).reshape(n, 3),
        "teacher_top_logp": np.arange(3 * n).reshape(n, 3) * -0.1,
        "teacher_hidden": None,
    }
    return columns | {"policy": "divergence", "status": "scored"} | changes


def test_the_onset_is_the_first_token_above_the_threshold():
    assert onset([0.01, 0.02, 0.3, 0.4], 0.05) == 2
    assert onset([0.05, 0.06], 0.05) == 1  # equal is not above
    assert onset([0.3], 0.05) == 0
    assert onset([0.01, 0.05], 0.05) is None
    assert onset([], 0.05) is None


def test_all_columns_start_at_the_onset():
    cut = row()
    start_at_onset([cut], 0.05)
    assert cut["status"] == "scored"
    assert cut["positions"] == [7, 8]  # the third and fourth of 5, 6, 7, 8
    assert cut["behaviour_logp"] == pytest.approx([-0.2, -0.3])
    assert cut["support_ids"].tolist() == [[4, 5], [6, 7]]
    assert cut["teacher_top_ids"].tolist() == [[6, 7, 8], [9, 10, 11]]
    assert cut["divergence"].tolist() == [0.3, 0.0]
    assert {len(cut[name]) for name in TOKEN_COLUMNS} == {2}


def test_hidden_states_are_cut_with_their_tokens():
    import torch

    hidden_NH = torch.arange(12.0).reshape(4, 3)
    cut = row(support_ids=(), support_logp=(), tail_logp=(), teacher_hidden=to_bfloat16(hidden_NH))
    start_at_onset([cut], 0.05)
    assert from_bfloat16(cut["teacher_hidden"], 2).tolist() == [[6, 7, 8], [9, 10, 11]]
    assert cut["support_ids"] == ()


def test_without_an_onset_no_token_is_left():
    cut = row(divergence=(0.01, 0.02))
    start_at_onset([cut], 0.05)
    assert (cut["status"], cut["positions"], len(cut["support_ids"])) == ("no_divergence", [], 0)


@pytest.mark.parametrize(
    "changes", [{"policy": "quote"}, {"policy": "all"}, {"status": "too_long"}]
)
def test_other_rows_keep_their_tokens(changes):
    kept = row(**changes)
    start_at_onset([kept], 0.05)
    assert kept["positions"] == [5, 6, 7, 8]


@given(st.lists(st.floats(0, 0.69), min_size=1, max_size=9), st.floats(0, 0.69))
def test_what_is_left_is_the_end_of_the_row_and_starts_above_the_threshold(divergence, threshold):
    cut = row(divergence=divergence)
    start_at_onset([cut], threshold)
    dropped = len(divergence) - len(cut["positions"])
    assert cut["positions"] == list(range(5 + dropped, 5 + len(divergence)))
    assert all(value <= threshold for value in divergence[:dropped])
    assert (cut["status"] == "no_divergence") == (not cut["positions"])
    assert not cut["positions"] or cut["divergence"][0] > threshold


def test_every_list_with_a_value_per_token_is_cut():
    """A new column of the table is either cut, too, or of the prompt or the whole response."""
    import pyarrow as pa

    lists = {field.name for field in SCORES if pa.types.is_list(field.type)}
    assert lists - set(TOKEN_COLUMNS) == {"prompt_ids", "teacher_prompt_ids", "response_ids"}
    assert set(TOKEN_COLUMNS) <= set(ScoreRow.__annotations__)
