"""One wrong response through the five steps: its quote, its idea, and the probability of every
token of the quoted error before and after distillation.

    python examples/worked_example.py [--iteration i1] [--rollout ID]

Reads the tables and models of a finished run. Without an id it takes, among wrong responses with a
valid prefix, the one in which student and teacher disagree most about a token of the quoted error.
"""

import math
import sys
from pathlib import Path
from typing import Annotated, Any

import polars as pl
import torch
import typer

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from rosd_core.config.load import load_params
from rosd_core.errors import RosdError
from rosd_core.forward.packing import pack_row, supervised_hidden
from rosd_core.losses.head import head_of
from rosd_core.models.loading import load_model
from rosd_core.prompts.chat import decode, pad_id
from rosd_core.tables.io import read_table
from rosd_core.terminal import printable
from stages.paths import Paths


def joined(paths: Paths, iteration: str) -> pl.DataFrame:
    """Wrong responses with a quote that was found exactly, one row each, with all tables joined."""
    tables = {
        name: read_table(name, paths.table(name, iteration))
        for name in ("alignments", "rollouts", "reflections", "scores")
    }
    problems = read_table("problems", paths.problems).select("problem_id", problem="prompt")
    found = (
        tables["alignments"]
        .filter(kind="wrong", policy="quote")
        .select("rollout_id", "problem_id", place=pl.col("quotes").list.first())
        .filter(pl.col("place").struct.field("match") == "exact")
    )
    return (
        found.join(problems, "problem_id")
        .join(tables["rollouts"].select("rollout_id", "response"), "rollout_id")
        .join(tables["reflections"].select("rollout_id", "idea"), "rollout_id")
        .join(tables["scores"].drop("problem_id"), "rollout_id")
        .with_columns(worst=pl.col("divergence").list.head(8).list.max())
        .sort("worst", "rollout_id", descending=[True, False])
    )


def logp_after(folder: Path, row: dict[str, Any]) -> list[float]:
    """The trained student's log-probabilities of the supervised tokens."""
    model, tokenizer = load_model(folder, "cpu")
    with torch.no_grad():
        hidden_NH = supervised_hidden(model, [pack_row(row)], pad_id(tokenizer))
        logp_NV = head_of(model).logits(hidden_NH).log_softmax(-1)
    sampled = torch.tensor([row["response_ids"][t] for t in row["positions"]])
    return logp_NV.gather(1, sampled.unsqueeze(1)).squeeze(1).tolist()


def main(
    iteration: str = "i1",
    rollout: Annotated[str, typer.Option(help="A rollout_id; default: the clearest one.")] = "",
    params: Path = Path("params.yaml"),
) -> None:
    keys = list(load_params(params).loop)
    if iteration not in keys:
        raise RosdError(f"iteration {iteration!r} is not in {params}: loop: {', '.join(keys)}.")
    paths = Paths(params.resolve().parent)
    torch.set_num_threads(1)
    rows = joined(paths, iteration)
    prefixed = rows.filter(pl.col("positions").list.first() > 0)
    chosen = rows.filter(rollout_id=rollout) if rollout else prefixed
    if chosen.is_empty():
        raise SystemExit(f"no wrong response with an exact quote in {iteration} {rollout}")
    row = chosen.row(0, named=True)
    print_response(row)
    later = keys[keys.index(iteration) :]
    print_tokens(row, paths, later)


def print_response(row: dict[str, Any]) -> None:
    start, end = row["place"]["char_start"], row["place"]["char_end"]
    text, first = row["response"], row["positions"][0]
    print(f"{row['rollout_id']}\n\nProblem: {printable(row['problem'])}\n")
    print("Response, with the quoted error marked:\n")
    print(printable(f"{text[:start]}>>>{text[start:end]}<<<{text[end:]}\n"))
    print(f"Corrective idea: {printable(row['idea'])}\n")
    print(
        f"Supervised: tokens {first} to {len(row['response_ids']) - 1}; 0 to {first - 1} are not.\n"
    )


def print_tokens(row: dict[str, Any], paths: Paths, later: list[str]) -> None:
    """The tokens of the quoted error, as a Markdown table."""
    _, tokenizer = load_model(paths.model_folder(later[0]), "cpu")
    columns = [row["student_logp"], row["teacher_logp"]]
    columns += [logp_after(paths.model_folder(key), row) for key in later]
    names = ["student", "teacher with the idea", *(f"student after {key}" for key in later)]
    print(f"| token of the error | {' | '.join(names)} |\n" + "| --- " * (len(names) + 1) + "|")
    place, length = row["place"], 0
    for n, t in enumerate(row["positions"]):
        if length >= place["char_end"] - place["char_start"]:
            break
        token = decode(tokenizer, [row["response_ids"][t]])
        length += len(token)
        cells = [f"{100 * math.exp(column[n]):.1f} %" for column in columns]
        print(f"| `{printable(token)}` | {' | '.join(cells)} |")


if __name__ == "__main__":
    try:
        typer.run(main)
    except RosdError as error:
        raise SystemExit(str(error)) from None
