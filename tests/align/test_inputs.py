"""Alignments do not depend on how the tables are cut into row groups, nor on their order."""

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rosd_core.align.eligibility import AlignSettings
from rosd_core.align.inputs import align_inputs
from rosd_core.align.token_spans import TokenMap
from rosd_core.errors import RosdError
from rosd_core.tables import writer as writers
from rosd_core.tables.io import to_arrow, write_table
from tests.show.support import PEER, RESPONSE, problem, reflection, rollout
from tests.support import ROOT

MAP = TokenMap.of_folder(ROOT / "models" / "base")
SETTINGS = AlignSettings(
    teacher_context="idea", no_peer="skip", mask="quote", wrong="use", correct="use",
    all_success="use", weight="one", quote_not_found="from_first_difference",
    spans="first_to_end", skip_thinking=False, skip_first=0, fuzzy_threshold=101,
)  # fmt: skip
PROBLEMS = pl.DataFrame([problem(problem_id=f"p{n}") for n in range(3)])


def tables():
    """Three groups of three: two wrong responses, one of whose quotes is not there, and a peer."""
    rollouts, reflections = [], []
    for p in range(3):
        for sample, text in enumerate((RESPONSE, f"{RESPONSE}{p}", PEER)):
            names = {"problem_id": f"p{p}", "rollout_id": f"p{p}/{sample}"}
            rollouts.append(rollout(sample, text, text == PEER) | names)
            kind = {"kind": "correct", "peer_id": None} if text == PEER else {}
            quotes = ["nowhere"] if sample == 1 else ["21-1=10"]
            told = reflection(**{"peer_id": f"p{p}/2", "quotes": quotes} | kind)
            reflections.append(told | names)
    return rollouts, reflections


def aligned(rollouts, reflections, group):
    """The alignments, where a row group has so many rows."""
    with TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        patch.setattr(writers, "ROW_GROUP", group)
        files = Path(name) / "rollouts.parquet", Path(name) / "reflections.parquet"
        write_table("rollouts", rollouts, files[0])
        write_table("reflections", reflections, files[1])
        batches = list(align_inputs(PROBLEMS, *files, SETTINGS.reads_peer))
    return batches, [i.row(MAP, SETTINGS) for batch in batches for i in batch]


@cache
def whole():
    """From tables of one row group, in the same order."""
    return to_arrow("alignments", aligned(*tables(), 100)[1]).to_pylist()


def test_by_hand():
    found = {r["rollout_id"]: (r["policy"], r["first_token"]) for r in whole()}
    # the quote begins with token 6; RESPONSE differs from PEER in token 10, `10` beside `20`
    assert found["p1/0"] == ("quote", 6)
    assert found["p1/1"] == ("from_first_difference", 10)
    assert found["p1/2"] == ("all", 0)


@settings(max_examples=25)
@given(st.permutations(range(9)), st.permutations(range(9)), st.integers(1, 10))
def test_order_and_row_groups_do_not_matter(first, second, group):
    rollouts, reflections = tables()
    batches, rows = aligned([rollouts[n] for n in first], [reflections[n] for n in second], group)
    assert to_arrow("alignments", rows).to_pylist() == [whole()[n] for n in second]
    assert max(map(len, batches)) <= group


def test_a_missing_partner_is_named():
    rollouts, reflections = tables()
    with pytest.raises(RosdError, match=r"reflections.parquet: 8 reflections of 9 rollouts"):
        aligned(rollouts, reflections[1:], 2)
    with pytest.raises(RosdError, match=r"row p0/0: rollout_id p0/0 is not in rollouts"):
        aligned(rollouts[1:], reflections, 2)
