"""Memory and CPU time of every stage beside the model, for N rollouts of T tokens.

    python benchmarks/long_table.py [--rows N ...] [--tokens 8000] [--folder FOLDER]

The stages run as they are, each in a process of its own, on a project of the pocket world; only
what the models say is made up: responses of T tokens, half of them with a wrong line, and
reflections that quote it (one in ten with a typing error). `score` leaves the teacher to `distill`
(`score.targets: none`), of which the reading of its table is run. `reflect.file` and `rollout.file`
read the same tables again as JSON lines of a user's. A project of 16 rollouts of 100 tokens shows
what a stage needs at its start; "beside" is the rest.
"""

import json
import multiprocessing
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any
from zlib import crc32

import numpy as np
import typer
from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parent.parent
START = (16, 100)  # rollouts and tokens of the smallest project
MODULES = ("rollout", "reflect", "align", "score", "distill", "evaluate", "report", "show",
           "tables", "verify")  # fmt: skip
STAGES = (*MODULES, "hashes", "reflect.file", "rollout.file")


class Lines:
    """Lines of the pocket world as token ids."""

    def __init__(self, tokenizer: Any, count: int = 4000) -> None:
        rng = np.random.default_rng(0)
        numbers = rng.integers(11, 99, (count, 2))
        text = (f"Then {a} plus {b} is {a + b}.\n" for a, b in numbers)
        self.ids = [self.encode(tokenizer, line) for line in text]
        self.usual = sum(map(len, self.ids)) / count

    @staticmethod
    def encode(tokenizer: Any, text: str) -> list[int]:
        return tokenizer(text, add_special_tokens=False)["input_ids"]


class MadeUp:
    """An engine whose responses have `tokens` tokens; half of them are wrong."""

    def __init__(self, tokenizer: Any, answers: dict[str, str], tokens: int) -> None:
        self.tokenizer, self.answers, self.tokens = tokenizer, answers, tokens
        self.lines = Lines(tokenizer)

    def generate(self, requests: Sequence[Any], decoding: Any) -> list[Any]:
        from rosd_core.sampling.engine import Completion

        done = []
        for request in requests:
            ids = self.response(request.row_id)
            rng = np.random.default_rng(crc32(request.row_id.encode()))
            logp = (-rng.exponential(0.3, len(ids))).astype(np.float32).tolist()
            done.append(Completion(ids, logp, "stop", logp))
        return done

    def response(self, row_id: str) -> list[int]:
        rng, lines = np.random.default_rng(crc32(row_id.encode())), self.lines
        wrong = rng.random() < 0.5
        answer = "0" if wrong else self.answers[row_id.rpartition("/")[0]]
        end = lines.encode(self.tokenizer, f"Answer: {answer}")
        a, b, c = rng.integers(11, 99, 3)
        error = lines.encode(self.tokenizer, f"So {a}*{b}-{c}={a + b}\n") if wrong else []
        room = self.tokens - len(end) - len(error) - 1
        chosen = rng.integers(0, len(lines.ids), int(room / lines.usual) + 20)
        place, ids = int(rng.integers(0, max(1, int(room / lines.usual)))), []
        for number, line in enumerate(chosen.tolist()):
            ids += error if number == place else []
            if len(ids) + len(lines.ids[line]) > self.tokens - len(end) - 1:
                break
            ids += lines.ids[line]
        return [*ids, *end, self.tokenizer.eos_token_id]


class Quotes:
    """A reflector that quotes the line which begins with `So`."""

    model = "made up"

    def answer(self, questions: Sequence[Any], decoding: Any) -> list[Any]:
        from rosd_core.reflect.reflector import Answer

        answers = []
        for question in questions:
            content = question.prompt.messages[-1]["content"]
            found = re.findall(r"^So .*$", content, re.MULTILINE)
            quote = found[-1] if found else ""
            if crc32(question.row_id.encode()) % 10 == 0:
                quote = quote.replace("-", "+", 1)
            text = f"<error_quote>{quote}</error_quote>" if quote else ""
            answers.append(Answer(text + "<explanation>Carry.</explanation>", 40, "stop"))
        return answers


def in_process(stage: str, folder: Path) -> dict[str, float]:
    """Run a stage here: CPU seconds and the peak memory in MiB."""
    from rosd_core.config.load import load_params
    from stages.paths import Paths

    params, paths = load_params(folder / "params.yaml"), Paths(folder)
    make_up(params, paths)
    started = time.process_time()
    RUN.get(stage, run_stage)(stage, params, paths)
    seconds = time.process_time() - started
    status = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM:"))
    return {"seconds": seconds, "mib": peak / 1024}


def make_up(params: Any, paths: Any) -> None:
    """Let the stages open made up models; all modules are imported."""
    from rosd_core.models.loading import load_tokenizer
    from rosd_core.tables.io import read_table

    stages = {name: import_module(f"stages.{name}") for name in ("rollout", "evaluate", "reflect")}
    for name in ("align", "score", "report", "show", "tables", "verify", "distill"):
        import_module(f"stages.{name}")

    def open_engine(settings: Any, folder: Path, report: Any) -> tuple[Any, Any]:
        tokenizer = load_tokenizer(folder)
        rows = read_table("problems", paths.problems, ["problem_id", "answer"])
        return MadeUp(tokenizer, dict(rows.iter_rows()), params.rollout.max_new_tokens), tokenizer

    for module in stages.values():
        vars(module)["open_engine"] = open_engine
    vars(stages["reflect"])["EngineReflector"] = lambda engine, tokenizer, model: Quotes()
    given = import_module("rosd_core.rollout.given_engine").GivenEngine
    given._logp = lambda self, rows: [[-0.5] * len(ids) for _, ids, _ in rows]


def run_stage(stage: str, params: Any, paths: Any) -> None:
    if stage == "prepare":
        import_module("stages.prepare").run(params, paths)
        lengthen(paths)
    elif stage == "report":
        import_module("stages.report").run(params, paths)
    else:
        import_module(f"stages.{stage}").run(params, paths, "i1")


def lengthen(paths: Any) -> None:
    """Give the problems prompts of about 200 tokens."""
    from rosd_core.tables.io import read_table, write_table
    from rosd_core.tables.origin import read_origin

    rows, origin = (
        read_table("problems", paths.problems).to_dicts(),
        read_origin(paths.problems, ""),
    )
    for number, row in enumerate(rows):
        row["prompt"] = f"{number % 90 + 10}+12={number % 90 + 22}\n" * 25 + row["prompt"]
    write_table("problems", rows, paths.problems, origin=origin)


def read_scores(stage: str, params: Any, paths: Any) -> None:
    """What distill reads."""
    from rosd_core.distill.epoch import scored_steps
    from rosd_core.distill.token_weights import TokenWeightSettings
    from rosd_core.tables.references import checked_scores

    p, table = params.distill, paths.table("scores", "i1")
    checked_scores(table, ["status", "teacher"])
    weighing = TokenWeightSettings(**p.values_for(TokenWeightSettings))
    for _ in scored_steps(table, weighing, p.rows_per_step, 0, p.shuffle):
        pass


def show(stage: str, params: Any, paths: Any) -> None:
    show = import_module("stages.show")
    name = show.example(params, paths) or "chain-train-0000/0"
    show.sheet(params, paths, name, None)
    show.group(params, paths, name.rpartition("/")[0], None)


def tables(stage: str, params: Any, paths: Any) -> None:
    import_module("stages.tables").inventory(params, paths)


def verify(stage: str, params: Any, paths: Any) -> None:
    import_module("stages.verify").check(params, paths, "i1", 8, 0, 1e-3)


def evaluate(stage: str, params: Any, paths: Any) -> None:
    import_module("stages.evaluate").run(params, paths, "base")


def evaluate_again(stage: str, params: Any, paths: Any) -> None:
    """The evaluation of base as that of i1."""
    from rosd_core.tables.io import row_groups, to_arrow
    from rosd_core.tables.writer import table_writer
    from stages.origin import table_origin

    origin = table_origin(params, paths, "evaluate", "i1", {})
    with table_writer("evaluation", paths.evaluation("i1"), origin=origin) as writer:
        for rows in row_groups("evaluation", paths.evaluation("base")):
            writer.add(to_arrow("evaluation", [row | {"iteration": "i1"} for row in rows]))


def hashes(stage: str, params: Any, paths: Any) -> None:
    table_hash = import_module("rosd_core.tables.hashing").table_hash
    for file in (paths.problems, *sorted(paths.table("rollouts", "i1").parent.glob("*.parquet"))):
        table_hash(file)


def write_lines(stage: str, params: Any, paths: Any) -> None:
    """The files of the stages below."""
    from rosd_core.tables.parquet import frames

    names = ["problem_id", "response", "response_ids", "behaviour_logp"]
    with (paths.root / "rollouts.jsonl").open("wb") as lines:
        for part in frames(paths.table("rollouts", "i1"), names):
            lines.write(part.write_ndjson().encode())
    texts = frames(paths.table("rollouts", "i1"), ["rollout_id", "response"])
    ideas = frames(paths.table("reflections", "i1"), ["rollout_id", "quotes", "idea"])
    of_rollout = {row[0]: row[1:] for part in ideas for row in part.iter_rows()}
    with (paths.root / "reflections.jsonl").open("w", encoding="utf-8") as lines:
        for name, response in (row for part in texts for row in part.iter_rows()):
            quotes, idea = of_rollout[name]
            row = {"rollout_id": name, "response": response, "quote": quotes, "idea": idea}
            lines.write(json.dumps(row) + "\n")


def read_file(stage: str, params: Any, paths: Any) -> None:
    """A stage that takes what the file has."""
    name = stage.removesuffix(".file")
    changes = {
        "rollout": {"file": "rollouts.jsonl"},
        "reflect": {"file": "reflections.jsonl", "source": "file"},
    }[name]
    section = getattr(params, name).model_copy(update=changes)
    run_stage(name, params.model_copy(update={name: section}), paths)


RUN: dict[str, Callable[[str, Any, Any], None]] = {
    "distill": read_scores, "show": show, "tables": tables, "verify": verify, "evaluate": evaluate,
    "evaluate again": evaluate_again, "hashes": hashes, "write lines": write_lines,
    "reflect.file": read_file, "rollout.file": read_file,
}  # fmt: skip


def new_project(folder: Path, rows: int, tokens: int) -> None:
    """A project of the pocket world for so many rollouts, and evaluations of as many responses."""
    yaml = YAML()
    data = yaml.load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    problems = max(1, rows // data["rollout"]["group_size"])
    for name, domain in data["prepare"]["domains"].items():
        chain = name == "chain"
        domain["train"] = problems * chain
        domain["test"] = max(1, rows // data["evaluate"]["samples"]) * chain
    data["loop"] = {"i1": {"start": "base"}}
    data["rollout"] |= {"problems": "all", "max_new_tokens": tokens, "max_prompt_tokens": 1000}
    data["evaluate"] |= {"max_new_tokens": tokens, "max_prompt_tokens": 1000}
    data["reflect"]["max_prompt_tokens"] = 3 * tokens + 1000
    data["score"] |= {"max_prompt_tokens": 3 * tokens + 1000, "targets": "none"}
    data["engine"]["parity"]["rows"] = 0
    yaml.dump(data, folder / "params.yaml")
    shutil.copytree(ROOT / "models" / "base", folder / "models" / "base")
    config = folder / "models" / "base" / "config.json"
    changed = json.loads(config.read_text(encoding="utf-8"))
    changed["max_position_embeddings"] = 5 * tokens + 2000
    config.write_text(json.dumps(changed), encoding="utf-8")
    (folder / "models" / "i1").symlink_to("base")
    (folder / "curves").mkdir()
    (folder / "curves" / "i1.csv").write_text(CURVE, encoding="utf-8")


CURVE = """step,loss,tokens,learning_rate,grad_norm,mean_importance,clipped_share,largest_ratio,stale_kl
0,1.0,1,0.1,1.0,1.0,0.0,1.0,0.0
"""  # noqa: E501


def stage_in_child(name: str, folder: Path) -> dict[str, float]:
    """A stage in a process of its own, forked from one that has imported everything."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([f"stages.{stage}" for stage in (*MODULES, "prepare")])
    with ProcessPoolExecutor(1, context) as pool:
        return pool.submit(in_process, name, folder).result()


def measured(home: Path, rows: int, tokens: int) -> Iterator[tuple[str, dict[str, float]]]:
    """Each stage on a new project."""
    folder = home / f"{rows}x{tokens}"
    folder.mkdir(parents=True)
    new_project(folder, rows, tokens)
    stage_in_child("prepare", folder)
    for name in STAGES:
        if name == "reflect.file":
            stage_in_child("write lines", folder)
        yield name, stage_in_child(name, folder)
        if name == "evaluate":  # the report compares two models
            stage_in_child("evaluate again", folder)


def main(
    rows: Annotated[list[int], typer.Option(help="rollouts")] = [1_600, 16_000],  # noqa: B006
    tokens: int = 8_000,
    folder: Annotated[Path | None, typer.Option(help="where the projects go; kept")] = None,
) -> None:
    """Print a Markdown table."""
    sys.path.insert(0, str(ROOT))
    os.environ["ROSD_QUIET"] = "1"
    with tempfile.TemporaryDirectory() as temporary:
        home = folder or Path(temporary)
        start = dict(measured(home, *START))
        print("| stage | rollouts | tokens each | CPU s | peak MiB | beside the start, MiB |\n"
              + "| --- " * 6 + "|")  # fmt: skip
        for count in rows:
            for name, found in measured(home, count, tokens):
                beside = found["mib"] - start[name]["mib"]
                cells = name, count, tokens, *(f"{v:.0f}" for v in (*found.values(), beside))
                print(f"| {' | '.join(map(str, cells))} |", flush=True)


if __name__ == "__main__":
    typer.run(main)
