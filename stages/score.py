"""score: the self-teacher reads problem + idea + the very same response tokens and says what should
come next.

in  data/problems.parquet, rollouts, reflections and alignments of the iteration, models/base,
models/<start> out iterations/<iteration>/scores.parquet (table scores)
"""

from rosd_core.engine import open_engine
from rosd_core.params import Params
from rosd_core.score import score_rows, score_tasks
from rosd_core.shards import Rows, write_shards
from rosd_core.tables import read_table
from stages.common import Paths, prompts_of, set_threads, start_of


def run(params: Params, paths: Paths, iteration: str) -> None:
    """Only supervised positions are kept; the idea is given, never the solution."""
    p, prompts, device = params.score, prompts_of(params.prompts), params.machine.device
    set_threads(params.machine.threads)
    problems = read_table("problems", paths.problems)
    tables = {
        n: read_table(n, paths.table(n, iteration))
        for n in ("alignments", "rollouts", "reflections")
    }
    start = start_of(params, iteration)
    student, tokenizer = open_engine("transformers", paths.weights(start), device, p.batch_rows)
    teacher = student
    if p.teacher == "base" and start != "base":
        teacher, _ = open_engine("transformers", paths.weights("base"), device, p.batch_rows)
    tasks = score_tasks(
        problems, **tables, tokenizer=tokenizer, prompts=prompts, longest=p.max_prompt_tokens
    )

    def work(shard: Rows) -> Rows:
        return score_rows(shard, student, teacher, p.support, p.top_k)

    write_shards("scores", paths.table("scores", iteration), tasks, p.shard_rows, work)


if __name__ == "__main__":
    from stages.cli import main

    main("score")
