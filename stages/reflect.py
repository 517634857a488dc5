"""reflect: the student's own weights quote the first error of a wrong response and write an idea of
how to correct it; or a table of yours does (`reflect.source: file`).

in  data/problems.parquet, iterations/<iteration>/rollouts.parquet, models/<start>
out iterations/<iteration>/reflections.parquet (table reflections), metrics/reflect-<iteration>.json
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from rosd_core.config.params import Params
from rosd_core.models.loading import load_tokenizer
from rosd_core.prompts.fit import PromptBuilder
from rosd_core.prompts.templates import Prompts
from rosd_core.reflect.chat_reflector import open_chat
from rosd_core.reflect.contract import Contract
from rosd_core.reflect.from_file import rows_of_file
from rosd_core.reflect.metrics import COLUMNS, reflection_metrics
from rosd_core.reflect.no_success import use_references
from rosd_core.reflect.peers import choose_peers
from rosd_core.reflect.reflector import EngineReflector, Reflector
from rosd_core.reflect.rows import (
    ReflectionTask,
    reflect_rows,
    reflection_tasks,
    unanswered_rows,
)
from rosd_core.sampling.engine import Decoding, open_engine
from rosd_core.tables.atomic import write_json
from rosd_core.tables.hashing import fingerprint
from rosd_core.tables.io import read_table, write_table
from rosd_core.tables.progress import Report
from rosd_core.tables.publish import publishing
from rosd_core.tables.references import check_rollouts
from rosd_core.tables.row_types import ReflectionRow
from rosd_core.tables.shards import write_shards
from rosd_core.tables.user_file import read_user_file
from rosd_core.workers.pool import Work
from stages.engines import engine_settings, workers
from stages.kept import kept
from stages.origin import origin_of
from stages.paths import Paths, set_threads, start_of, warn_shortened


def run(params: Params, paths: Paths, iteration: str) -> None:
    """A wrong response is shown beside a correct peer of its group; in a group without success,
    beside the data's solution, or it is skipped.
    """
    p, table = params.reflect, paths.table("reflections", iteration)
    folder = reflector_folder(params, paths, iteration)
    origin = origin_of(params, paths, "reflect", iteration)
    problems = read_table("problems", paths.problems)
    rollouts = read_table("rollouts", paths.table("rollouts", iteration))
    check_rollouts(rollouts, problems, paths.table("rollouts", iteration))
    peers = choose_peers(rollouts, p.seed, p.enabled, p.peer)
    peers = use_references(peers, problems, p.no_success)
    tasks, rows = [], []
    if p.enabled and p.source == "file":
        file = str(paths.given(str(p.file).replace("{iteration}", iteration)))
        rows = rows_of_file(read_user_file(file, "reflect.file"), file, peers, rollouts)
    else:
        builder = PromptBuilder(
            reflector_prompts(params), load_tokenizer(folder), p.max_prompt_tokens
        )
        tasks = reflection_tasks(problems, rollouts, peers, builder)
    with publishing(paths.root, origin) as together:
        if any(task.prompt for task in tasks):
            opened, size = partial(open_work, params, paths, iteration), p.shard_rows
            where = workers(params.machine, params.engine, p)
            made_of = kept(params, paths, origin)
            written = write_shards(
                "reflections", table, tasks, size, opened, where, made_of, together
            )
        else:
            rows = rows or unanswered_rows(tasks)
            written = write_table("reflections", rows, table, together)
        metrics = reflection_metrics(read_table("reflections", written, COLUMNS))
        write_json(paths.metrics("reflect", iteration), metrics, together)
    warn_shortened("reflect", metrics["shortened"], metrics["reflections"])


def reflector_prompts(params: Params) -> Prompts:
    """The templates that the reflector reads, with their examples."""
    templates = params.prompts.only("reflect_wrong", "reflect_correct")
    examples = params.prompts.examples_for("reflect_wrong", "reflect_correct")
    return Prompts(templates, params.prompts.thinking.reflector, examples)


def reflector_folder(params: Params, paths: Paths, iteration: str) -> Path:
    """The folder of the reflector's tokenizer and, unless it is only on a server, of its weights:
    the student's, or that of `reflect.model`.
    """
    p, student = params.reflect, paths.model_folder(start_of(params, iteration))
    return student if p.model is None or p.engine == "server" else paths.other_model(p.model)


def open_work(params: Params, paths: Paths, iteration: str, report: Report) -> Work:
    """The work on a shard of rollouts."""
    p, folder = params.reflect, reflector_folder(params, paths, iteration)
    set_threads(params.machine.threads)
    settings = engine_settings(p, params.machine, params.engine)
    if p.engine == "server" and p.model is not None:
        reflector: Reflector = open_chat(settings, p.model, p.url, report)
    else:
        engine, tokenizer = open_engine(settings, folder, report)
        reflector = EngineReflector(engine, tokenizer, fingerprint(folder))
    first = Decoding(p.temperature, p.top_p, p.max_new_tokens)
    attempts = [first, *[replace(first, temperature=p.retry_temperature)] * (p.attempts - 1)]
    contract = Contract(**p.values_for(Contract))

    def work(shard: Sequence[ReflectionTask]) -> list[ReflectionRow]:
        return reflect_rows(shard, reflector, attempts, (p.seed, iteration), contract)

    return work


if __name__ == "__main__":
    from stages.cli import main

    main("reflect")
