"""reflect: the student's own weights quote the first error of a wrong response and write an idea of
how to correct it; or a table of yours does (`reflect.source: file`).

in  data/problems.parquet, iterations/<iteration>/rollouts.parquet, models/<start>
out iterations/<iteration>/reflections.parquet (table reflections), metrics/reflect-<iteration>.json
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rosd_core.config.params import Params
from rosd_core.models.loading import load_tokenizer
from rosd_core.prompts.fit import PromptBuilder
from rosd_core.prompts.templates import Prompts
from rosd_core.reflect.chat_reflector import open_chat
from rosd_core.reflect.contract import Contract
from rosd_core.reflect.from_file import rows_of_file, text_hashes
from rosd_core.reflect.metrics import COLUMNS, reflection_metrics
from rosd_core.reflect.no_success import use_references
from rosd_core.reflect.peers import choose_peers, read_candidates
from rosd_core.reflect.reflector import EngineReflector, Reflector
from rosd_core.reflect.rows import Peer, TaskReader, new_row, reflect_rows
from rosd_core.sampling.engine import Decoding, open_engine
from rosd_core.tables.atomic import write_json
from rosd_core.tables.hashing import fingerprint
from rosd_core.tables.io import read_table, write_table
from rosd_core.tables.lookup import RowReader
from rosd_core.tables.parquet import frames
from rosd_core.tables.progress import Report
from rosd_core.tables.publish import publishing
from rosd_core.tables.references import check_rollouts
from rosd_core.tables.row_types import ReflectionRow
from rosd_core.tables.shards import write_shards
from rosd_core.tables.user_file import read_user_parts
from rosd_core.workers.pool import Work
from stages.engines import engine_settings, workers
from stages.kept import kept
from stages.origin import origin_of
from stages.paths import Paths, set_threads, start_of, warn_shortened

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def run(params: Params, paths: Paths, iteration: str) -> None:
    """A wrong response is shown beside a correct peer of its group; in a group without success,
    beside the data's solution, or it is skipped.
    """
    p, table = params.reflect, paths.table("reflections", iteration)
    origin = origin_of(params, paths, "reflect", iteration)
    problems = read_table("problems", paths.problems)
    candidates = read_candidates(paths.table("rollouts", iteration))
    check_rollouts(candidates, problems, paths.table("rollouts", iteration))
    chosen = choose_peers(candidates, p.seed, p.enabled, p.peer)
    peers = use_references(chosen, problems, p.no_success).to_dicts()
    with publishing(paths.root, origin) as together:
        if p.enabled and p.source == "file":
            rows = given_rows(params, paths, iteration, peers)
            written = write_table("reflections", rows, table, together)
        elif any(peer["skip_reason"] is None for peer in peers):
            opened, size = partial(open_work, params, paths, iteration), p.shard_rows
            where = workers(params.machine, params.engine, p)
            made_of = kept(params, paths, origin)
            written = write_shards(
                "reflections", table, peers, size, opened, where, made_of, together
            )
        else:
            written = write_table("reflections", [new_row(**p) for p in peers], table, together)
        metrics = reflection_metrics(read_table("reflections", written, COLUMNS))
        write_json(paths.metrics("reflect", iteration), metrics, together)
    warn_shortened("reflect", metrics["shortened"], metrics["reflections"])


def given_rows(
    params: Params, paths: Paths, iteration: str, peers: Sequence[Peer]
) -> list[ReflectionRow]:
    """The rows that `reflect.file` has for these rollouts."""
    file = str(paths.given(str(params.reflect.file).replace("{iteration}", iteration)))
    parts = frames(paths.table("rollouts", iteration), ["rollout_id", "response"])
    responses = text_hashes(row for part in parts for row in part.iter_rows())
    return rows_of_file(read_user_parts(file, "reflect.file"), file, peers, responses)


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


def open_tasks(
    params: Params, paths: Paths, iteration: str, tokenizer: "PreTrainedTokenizerBase"
) -> TaskReader:
    """What makes the prompts of a shard."""
    builder = PromptBuilder(reflector_prompts(params), tokenizer, params.reflect.max_prompt_tokens)
    problems = read_table("problems", paths.problems).to_dicts()
    rollouts = RowReader("rollouts", paths.table("rollouts", iteration))
    return TaskReader({row["problem_id"]: row for row in problems}, rollouts, builder)


def open_work(params: Params, paths: Paths, iteration: str, report: Report) -> Work:
    """The work on a shard of rollouts: rows that `choose_peers` returned."""
    p, folder = params.reflect, reflector_folder(params, paths, iteration)
    set_threads(params.machine.threads)
    tasks = open_tasks(params, paths, iteration, load_tokenizer(folder))
    settings = engine_settings(p, params.machine, params.engine)
    if p.engine == "server" and p.model is not None:
        reflector: Reflector = open_chat(settings, p.model, p.url, report)
    else:
        engine, tokenizer = open_engine(settings, folder, report)
        reflector = EngineReflector(engine, tokenizer, fingerprint(folder))
    first = Decoding(p.temperature, p.top_p, p.max_new_tokens)
    attempts = [first, *[replace(first, temperature=p.retry_temperature)] * (p.attempts - 1)]
    contract = Contract(**p.values_for(Contract))

    def work(shard: Sequence[Peer]) -> list[ReflectionRow]:
        read = tasks.read(shard)
        return reflect_rows(read, reflector, attempts, (p.seed, iteration), contract)

    return work


if __name__ == "__main__":
    from stages.cli import main

    main("reflect")
