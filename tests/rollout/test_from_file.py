"""Responses drawn elsewhere: which rows are used, and what is said about the others."""

import polars as pl
import pyarrow.parquet as pq
import pytest

from rosd_core.errors import RosdError
from rosd_core.prompts.chat import decode
from rosd_core.rollout import given_table
from rosd_core.rollout.from_file import Encoding, keep_samples
from rosd_core.rollout.given_table import GivenSample, kept_samples, kept_sizes

PROBLEMS = pl.DataFrame(
    {
        "problem_id": ["a", "b", "t"],
        "prompt": ["Start with 3. Add 4.", "Start with 5. Add 1.", "Start with 9. Add 9."],
        "split": ["train", "train", "test"],
    }
)
A, B, TEST = PROBLEMS["prompt"]
RIGHT, WRONG = "3+4=7\nAnswer: 7", "3+4=8\nAnswer: 8"


@pytest.fixture
def encoding(tokenizer):
    return Encoding(tokenizer, [tokenizer.eos_token_id], 24)


@pytest.fixture
def keep(encoding, tmp_path):
    """What is found in tables, which are parts of one file, and the samples of problem a."""

    def keep(*parts, file="f.jsonl"):
        found = keep_samples(parts, file, PROBLEMS, encoding, tmp_path / "kept.parquet")
        assert kept_sizes(tmp_path / "kept.parquet") == found.sizes
        return found, kept_samples(tmp_path / "kept.parquet", ["a"]).get("a", [])

    return keep


def table(*rows):
    return pl.DataFrame([dict(zip(("prompt", "response"), row, strict=True)) for row in rows])


def test_samples_are_numbered_in_the_order_of_the_file_in_groups_of_any_size(keep, tokenizer):
    rows = table((A, RIGHT), (B, "5+1=6\nAnswer: 6"), (A + " ", WRONG), (A, RIGHT))
    found, of_a = keep(rows)
    assert found.sizes == {"a": 3, "b": 1}
    texts = [decode(tokenizer, s.token_ids) for s in of_a]
    assert texts == [RIGHT, WRONG, RIGHT]
    assert all(s.token_ids[-1] == tokenizer.eos_token_id for s in of_a)
    assert found.repeated == 1  # the third one of a is the first one again; it is used
    assert found.message("f.jsonl") is None


def test_what_cannot_be_used_is_counted_with_its_first_row(keep, tokenizer):
    rows = table(
        (A, RIGHT),  # 0: used
        ("Start with 1.", "1"),  # 1: no problem
        (TEST, "9+9=18"),  # 2: training on it would spoil the evaluation
        (A, " \n"),  # 3
        (A, "1+1=2\n" * 20),  # 4: at least 20 tokens more than the 24 that are allowed
        (A, RIGHT + tokenizer.eos_token),  # 5: its text would end the turn
        ("Start with 2.", "2"),  # 6: the second one without a problem
    )
    found, _ = keep(rows)
    assert found.left_out == {
        "no_problem": [1, 6], "test_problem": [2], "empty": [3], "too_long": [4],
        "not_encodable": [5],
    }  # fmt: skip
    said = found.message("f.jsonl") or ""
    assert said.startswith("f.jsonl: 1 of 7 rows are used; left out are 2 of no problem in ")
    assert "(first: row 4)" in said
    assert found.metrics()["left_out_no_problem"] == 2
    with pytest.raises(RosdError, match=r"f.jsonl: 0 of 1 rows are used.*Nothing is left"):
        keep(table((A, "")))
    with pytest.raises(RosdError, match=r"f.jsonl: the file has no row. Nothing is left"):
        keep()


def test_parts_are_one_file(keep):
    """The third row is in the second part; both parts hold different columns."""
    by_id = pl.DataFrame({"problem_id": ["b", "a"], "response": [RIGHT, RIGHT]})
    found, of_a = keep(table((A, RIGHT), (A, "")), by_id)
    assert (found.sizes, found.repeated, len(of_a)) == ({"a": 2, "b": 1}, 1, 2)
    assert found.left_out["empty"] == [1]
    with pytest.raises(RosdError, match=r"f.jsonl: row 3: there is no problem 'c'"):
        keep(table((A, RIGHT), (A, "")), by_id.with_columns(problem_id=pl.Series(["a", "c"])))
    with pytest.raises(RosdError, match=r"f.jsonl: rows from 2: column response holds Int32"):
        keep(table((A, RIGHT), (A, WRONG)), by_id.with_columns(response=1))


def test_a_row_has_an_id_or_a_prompt(keep):
    rows = pl.DataFrame(
        {"problem_id": ["a", None], "prompt": [None, B], "response": [RIGHT, RIGHT]}
    )
    assert keep(rows)[0].sizes == {"a": 1, "b": 1}
    both = pl.DataFrame({"problem_id": ["a", "a"], "prompt": [A, "else"], "response": [RIGHT] * 2})
    assert keep(both)[0].sizes == {"a": 2}
    with pytest.raises(RosdError, match=r"f.jsonl: row 1: has the id of a and the prompt of b"):
        keep(both.with_columns(prompt=pl.Series([A, B])))


def test_the_samples_of_a_problem_are_found_in_any_group_of_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(given_table, "GROUP_TOKENS", 2)
    path = tmp_path / "kept.parquet"
    given_table.write_samples(
        path,
        (
            (name, GivenSample([number, 0], None if name == "a" else [-0.5, -1], "stop"))
            for number, name in enumerate("abacab")
        ),
    )
    assert pq.ParquetFile(path).num_row_groups == 4  # of two rows, and an empty one
    found = kept_samples(path, ["a", "c", "d"])
    assert [s.token_ids for s in found["a"]] == [[0, 0], [2, 0], [4, 0]]
    assert found["c"] == [GivenSample([3, 0], [-0.5, -1], "stop")]
    assert set(found) == {"a", "c"}
    assert kept_sizes(path) == {"a": 3, "b": 2, "c": 1}


def test_a_response_that_was_cut_off_has_no_end_token(keep, tokenizer):
    rows = table((A, RIGHT), (A, "3+4")).with_columns(finish_reason=pl.Series([None, "length"]))
    _, (whole, cut) = keep(rows)
    assert (whole.finish_reason, cut.finish_reason) == ("stop", "length")
    assert cut.token_ids == tokenizer("3+4")["input_ids"]


def with_ids(encoding, **changes):
    ids = encoding.ids(RIGHT, "stop")
    row = {"problem_id": "a", "response": RIGHT, "response_ids": ids}
    return pl.DataFrame([row | {"behaviour_logp": [-0.5] * len(ids)} | changes])


def test_ids_and_their_log_probabilities_are_taken_as_they_are(keep, encoding):
    _, (sample,) = keep(with_ids(encoding))
    assert sample.token_ids == encoding.ids(RIGHT, "stop")
    assert sample.behaviour_logp == [-0.5] * len(sample.token_ids)
    cut = with_ids(encoding, response_ids=encoding.ids(RIGHT, "length"), behaviour_logp=None)
    _, (sample,) = keep(cut)
    assert (sample.finish_reason, sample.behaviour_logp) == ("length", None)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"problem_id": "c"}, "f.jsonl: row 0: there is no problem 'c'"),
        ({"problem_id": None}, "f.jsonl: row 0: problem_id is missing"),
        ({"response": None}, "f.jsonl: row 0: response is missing"),
        ({"response": "3+4=9"}, "f.jsonl: row 0: response_ids are not the response"),
        ({"response_ids": [1, 99999]}, "f.jsonl: row 0: response_ids has ids that are not 0 to"),
        ({"response_ids": ["1"]}, r"f.jsonl: column response_ids holds List\(String\), not lists"),
        ({"response": 7}, "f.jsonl: column response holds Int64, not text"),
        ({"behaviour_logp": [-0.5]}, "f.jsonl: row 0: 1 values of behaviour_logp for"),
        ({"response_ids": None}, "f.jsonl: row 0: behaviour_logp needs response_ids"),
        ({"finish_reason": "eos"}, "f.jsonl: row 0: finish_reason is 'eos'; it is stop or length"),
    ],
)
def test_a_row_that_contradicts_itself_is_refused(keep, encoding, changes, message):
    with pytest.raises(RosdError, match=message):
        keep(with_ids(encoding, **changes))


@pytest.mark.parametrize("value", [0.1, float("nan"), float("-inf"), None])
def test_what_no_log_probability_can_be_is_refused(keep, encoding, value):
    values = [value, *[-1.0] * (len(encoding.ids(RIGHT, "stop")) - 1)]
    with pytest.raises(RosdError, match="row 0: behaviour_logp holds"):
        keep(with_ids(encoding, behaviour_logp=values))


def test_missing_columns_are_named(keep, encoding):
    with pytest.raises(RosdError, match="needs the columns response, and problem_id or prompt"):
        keep(table((A, RIGHT)).drop("prompt"))
    with pytest.raises(RosdError, match="behaviour_logp needs response_ids beside it"):
        keep(with_ids(encoding).drop("response_ids"))
