"""The tokens on which student and teacher disagree most, and what the teacher would write there.

    python examples/which_tokens.py [--iteration i1] [--count 15]

Reads scores.parquet with polars; needs `score.targets: topk`, the default. The teacher's token is
its likeliest among the stored ones (`score.top_k`).
"""

import sys
from pathlib import Path

import polars as pl
import typer

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from rosd_core.models.loading import load_tokenizer
from rosd_core.prompts.chat import decode
from rosd_core.terminal import printable
from stages.paths import Paths

PER_TOKEN = ["positions", "student_logp", "teacher_logp", "divergence", "support_ids",
             "support_logp"]  # fmt: skip


def largest(scores: pl.LazyFrame, count: int) -> pl.DataFrame:
    """The `count` supervised tokens with the largest divergence (nats), with the probabilities of
    student and teacher, and the id that the teacher prefers. Samples of a problem often share
    their text: of a token that several wrote at the same place there is one row.
    """
    best = pl.col("support_logp").list.arg_max()
    return (
        scores.filter(pl.col("status") == "scored")
        .select("rollout_id", "problem_id", "kind", "response_ids", *PER_TOKEN)
        .explode(PER_TOKEN)
        .with_columns(sampled=pl.col("response_ids").list.get(pl.col("positions")))
        .sort("divergence", "rollout_id", descending=[True, False])
        .unique(["problem_id", "positions", "sampled"], keep="first", maintain_order=True)
        .head(count)
        .select(
            "rollout_id",
            "kind",
            "positions",
            "divergence",
            "sampled",
            student=pl.col("student_logp").exp(),
            teacher=pl.col("teacher_logp").exp(),
            preferred=pl.col("support_ids").list.get(best),
            preferred_share=pl.col("support_logp").list.max().exp(),
        )
        .collect()
    )


def main(iteration: str = "i1", count: int = 15, project: Path = Path()) -> None:
    paths = Paths(project)
    file = paths.table("scores", iteration)
    if not file.is_file():
        raise SystemExit(f"{file}: no such file; run `dvc repro` first.")
    tokens = largest(pl.scan_parquet(file), count)
    if tokens.is_empty():
        raise SystemExit(f"{file}: no token is scored; is score.targets topk?")
    tokenizer = load_tokenizer(paths.model_folder("base"))
    print("divergence  sampled       student  teacher  the teacher prefers     rollout:token")
    for row in tokens.iter_rows(named=True):
        sampled, preferred = (
            printable(repr(decode(tokenizer, [row[name]]))) for name in ("sampled", "preferred")
        )
        print(
            f"{row['divergence']:10.3f}  {sampled:12} {row['student']:8.1%} {row['teacher']:8.1%}  "
            f"{preferred:12} {row['preferred_share']:8.1%}   {row['rollout_id']}:{row['positions']}"
        )


if __name__ == "__main__":
    typer.run(main)
