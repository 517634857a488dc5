"""Numbers that are none, through the real commands: refused where they arise, with the row."""

import json
import math

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rosd_core.graders.graders import GRADERS, Verdict
from tests.faults.support import change_weights, rosd, settings

pytestmark = pytest.mark.stage


def test_logits_that_overflow_name_the_row(scored):
    """Finite weights, whose product is not: 1e5 x 1e37 x 0.02."""
    factors = {"model.embed_tokens.weight": 1e5, "model.norm.weight": 1e37}
    change_weights(scored, "base", lambda name, tensor: tensor * factors.get(name, 1.0))
    done = rosd(scored, "rollout", "i1")
    assert done.exit_code == 1
    assert "row chain-" in done.stderr
    assert "logits after 0 sampled tokens are not finite" in done.stderr


@pytest.mark.parametrize(
    ("column", "value"),
    [("behaviour_logp", -math.inf), ("support_logp", 0.25), ("tail_logp", math.nan)],
)
def test_a_score_table_with_a_number_that_is_none(scored, column, value):
    file = scored / "iterations" / "i1" / "scores.parquet"
    table = pq.read_table(file)
    rows = table[column].to_pylist()
    last = rows[-1][-1]
    rows[-1][-1] = [value, *last[1:]] if isinstance(last, list) else value
    at, field = table.schema.get_field_index(column), table.schema.field(column)
    pq.write_table(table.set_column(at, field, pa.array(rows, field.type)), file)
    done = rosd(scored, "distill", "i1")
    assert done.exit_code == 1
    row = table["rollout_id"][-1].as_py()
    assert f"scores.parquet: rollout_id {row}: column {column} holds {value:g}" in done.stderr
    assert not (scored / "models" / "i1").exists()


@pytest.mark.parametrize("reward", [math.nan, math.inf, 1.5])
def test_a_reward_that_is_none(scored, monkeypatch, reward):
    monkeypatch.setitem(GRADERS, "answer_line", lambda *_: Verdict(reward, None, "", "missing"))
    file = scored / "iterations" / "i1" / "rollouts.parquet"
    before = file.read_bytes()
    rosd(scored, "clean")  # kept shards have other rewards; the hash of the code knows no patch
    done = rosd(scored, "rollout", "i1")
    assert done.exit_code == 1
    assert "problem chain-" in done.stderr
    assert f"gives the reward {reward:g}, which is not in [0, 1]" in done.stderr
    assert file.read_bytes() == before


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("distill", "learning_rate", math.inf),
        ("distill", "learning_rate", "nan"),
        ("evaluate", "temperature", math.nan),
        ("rollout", "seed", -1),
        ("distill", "batch_tokens", 1e30),
    ],
)
def test_params_that_are_no_numbers(scored, section, key, value):
    settings(scored, **{section: {key: value}})
    done = rosd(scored, "distill", "i1")
    assert done.exit_code == 1
    assert f"params.yaml: {section}.{key} = " in done.stderr


def test_metrics_of_a_collapse_are_json(scored):
    """The drift of the new weights is infinite: null in the file."""
    distill = {"learning_rate": 10, "warmup_steps": 0, "rows_per_step": 1000}
    settings(scored, distill=distill, guards={"action": "off"})
    done = rosd(scored, "distill", "i1")
    assert done.exit_code == 0, done.stderr
    text = (scored / "metrics" / "distill-i1.json").read_text()
    metrics = json.loads(text, parse_constant=pytest.fail)
    assert metrics["last_stale_kl"] is None
    assert metrics["steps"] == 1
