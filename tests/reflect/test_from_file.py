"""Reflections written elsewhere."""

import polars as pl
import pytest

from rosd_core.errors import RosdError
from rosd_core.reflect.from_file import rows_of_file, text_hashes
from rosd_core.reflect.parse import without_quotes
from rosd_core.tables.io import to_arrow
from rosd_core.tables.user_file import read_user_file

RESPONSE = {"p/0": "1+1=2", "p/1": "1+1=3\n3+3=6", "p/2": "1+1=4", "p/3": "1+1=5"}
HASHES = text_hashes(RESPONSE.items())
PEERS = pl.DataFrame(
    {
        "rollout_id": list(RESPONSE),
        "problem_id": ["p"] * 4,
        "kind": ["correct", "wrong", "wrong", "wrong"],
        "peer_id": [None, "p/0", "p/0", "p/0"],
        "skip_reason": [None, None, "no_success", None],
    }
).to_dicts()


def written(**changes):
    columns = {
        "rollout_id": ["p/1", "p/0", "p/2"],
        "response": [RESPONSE["p/1"], RESPONSE["p/0"], RESPONSE["p/2"]],
        "quote": ["1+1=3", None, " "],
        "idea": ["It is 2.", "One and one are two.", "It is 2."],
    }
    return pl.DataFrame(columns | changes)


def test_rows_are_in_the_order_of_the_rollouts_and_missing_ones_are_skipped():
    rows = rows_of_file([written()], "mine.jsonl", PEERS, HASHES)
    assert [(r["rollout_id"], r["status"], r["skip_reason"]) for r in rows] == [
        ("p/0", "ok", None),
        ("p/1", "ok", None),
        ("p/2", "no_quote", None),  # in the file, so the lack of a correct peer does not matter
        ("p/3", "skipped", "not_in_file"),
    ]
    assert (rows[1]["quotes"], rows[1]["idea"]) == (["1+1=3"], "It is 2.")
    assert rows[0]["quotes"] == []
    assert without_quotes(rows[1]["raw"] or "", ["1+1=3"]).split() == ["It", "is", "2."]
    assert to_arrow("reflections", rows).num_rows == 4


def test_columns_may_be_missing_from_a_part_but_not_from_the_file():
    first, second = written()[:1], written()[1:].drop("quote")
    rows = rows_of_file([first, second], "mine.csv", PEERS, HASHES)
    assert [r["status"] for r in rows] == ["ok", "ok", "no_quote", "skipped"]
    with pytest.raises(RosdError, match=r"mine\.csv: the column quote is missing"):
        rows_of_file([second], "mine.csv", PEERS, HASHES)
    with pytest.raises(RosdError, match=r"mine\.csv: the file has no row"):
        rows_of_file([written()[:0]], "mine.csv", PEERS, HASHES)


def test_several_quotes_are_a_list():
    quotes = pl.Series("quote", [["1+1=3", "3+3=6"], [], None], dtype=pl.List(pl.String))
    rows = rows_of_file([written(quote=quotes)], "mine.jsonl", PEERS, HASHES)
    assert rows[1]["quotes"] == ["1+1=3", "3+3=6"]
    assert without_quotes(rows[1]["raw"] or "", rows[1]["quotes"] or []).split()[-1] == "2."


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rollout_id": ["p/1", "p/9", "p/2"]}, "mine.jsonl: row 1: there is no rollout 'p/9'"),
        ({"rollout_id": ["p/1", "p/0", "p/3"]}, "mine.jsonl: row 2: the response of p/3 is not"),
        (
            {
                "rollout_id": ["p/1", "p/0", "p/0"],
                "response": [*written()["response"][:2], "1+1=2"],
            },
            "mine.jsonl: row 2: rollout p/0 is there twice",
        ),
    ],
)
def test_a_file_for_other_rollouts_is_refused(changes, message):
    with pytest.raises(RosdError, match=message):
        rows_of_file([written(**changes)], "mine.jsonl", PEERS, HASHES)


def test_a_missing_column_and_a_missing_file_are_named(tmp_path):
    with pytest.raises(RosdError, match=r"mine.jsonl: the column quote is missing; needed are"):
        rows_of_file([written().drop("quote")], "mine.jsonl", PEERS, HASHES)
    with pytest.raises(RosdError, match=r"no.jsonl: no such file \(reflect.file\)"):
        read_user_file(str(tmp_path / "no.jsonl"), "reflect.file")
