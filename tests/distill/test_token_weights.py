"""Token weights, with numbers by hand."""

from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rosd_core.config.load import load_params
from rosd_core.config.training import Distill
from rosd_core.distill.token_weights import TOKEN_WEIGHTS, TokenWeightSettings, scaled, weighted
from rosd_core.errors import RosdError
from tests.support import write_params


def row(**columns) -> dict[str, Any]:
    return {"rollout_id": "p/0", "positions": [2, 3, 7, 8]} | columns


def weigh(name, given_row, decay=2.0, share=0.5):
    (found,) = weighted([given_row], TokenWeightSettings(name, decay, share))
    return found["token_weight"].tolist()


def test_params_know_every_weight_and_no_other():
    assert set(get_args(Distill.model_fields["token_weight"].annotation)) == set(TOKEN_WEIGHTS)


def test_one_and_decay_by_hand():
    assert weigh("one", row()) == [1, 1, 1, 1]
    # a half-life of two supervised tokens, whatever lies between them: 2^0, 2^-1/2, 2^-1, 2^-3/2
    assert weigh("decay", row()) == pytest.approx([1, 0.5**0.5, 0.5, 0.5**1.5])
    assert weigh("decay", row(), decay=1.0) == [1, 0.5, 0.25, 0.125]


def test_masks_by_hand():
    unsure = row(student_entropy=[0.1, 2.0, 0.0, 0.4], divergence=[0.3, 0.0, 0.6, 0.3])
    assert weigh("entropy", unsure) == [0, 1, 0, 1]
    # tokens 0 and 3 are equal: the earlier one
    assert weigh("divergence", unsure) == [1, 0, 1, 0]
    assert weigh("divergence", unsure, share=0.25) == [0, 0, 1, 0]
    assert weigh("divergence", unsure, share=0.01) == [0, 0, 1, 0]  # at least one
    # h = 1/20, 1, 0, 1/5 and d = 1/2, 0, 1, 1/2; h + d - h d = 0.525, 1, 1, 0.6
    assert weigh("entropy_or_divergence", unsure) == [0, 1, 1, 0]
    assert weigh("entropy_or_divergence", unsure, share=0.75) == [0, 1, 1, 1]


def test_columns_without_contrast_are_scaled_to_0():
    assert scaled(np.array([3.0, 3.0])).tolist() == [0, 0]
    assert scaled(np.array([3.0, 1.0, 2.0])).tolist() == [1, 0, 0.5]


@given(
    st.sampled_from(sorted(TOKEN_WEIGHTS)),
    st.lists(st.tuples(st.floats(0, 5), st.floats(0, 1)), min_size=1, max_size=30),
    st.floats(0.01, 1),
    st.floats(0.1, 100),
)
def test_weights_are_between_0_and_1_and_some_token_has_1(name, values, share, decay):
    entropy, divergence = zip(*values, strict=True)
    made = row(positions=list(range(len(values))), student_entropy=entropy, divergence=divergence)
    found = weigh(name, made, decay, share)
    assert len(found) == len(values)
    assert max(found) == 1 and min(found) >= 0
    if name not in ("one", "decay"):
        assert sum(found) == max(1, round(share * len(values)))


@pytest.mark.parametrize("name", ["entropy", "divergence", "entropy_or_divergence"])
def test_a_table_without_the_column_is_refused(name):
    empty = row(student_entropy=(), divergence=())
    with pytest.raises(RosdError, match=r"p/0, which distill\.token_weight .* score\.targets to"):
        weigh(name, empty)


@pytest.mark.parametrize(
    "changes", [{"score": {"targets": "none"}}, {"align": {"teacher_context": "none"}}]
)
def test_params_that_leave_the_columns_empty_are_refused(tmp_path, changes):
    file = write_params(tmp_path, changes | {"distill": {"token_weight": "entropy"}})
    told = r"distill\.token_weight entropy .* score\.targets none, and with align\.teacher_context"
    with pytest.raises(RosdError, match=told):
        load_params(file)
    load_params(write_params(tmp_path, changes | {"distill": {"token_weight": "decay"}}))
