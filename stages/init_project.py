"""`rosd init`: from a model and a data file to a project that runs, with reasons for each value."""

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from rosd_core.config.edit import rewrite_loop, rewrite_method
from rosd_core.config.load import load_params
from rosd_core.config.methods import METHODS
from rosd_core.errors import RosdError
from rosd_core.models.gguf import find_or_convert
from rosd_core.models.loading import load_tokenizer
from rosd_core.models.pointer import check_model, set_base
from rosd_core.project import choose as rules
from rosd_core.project.choose import Choice
from rosd_core.project.examples import solved_examples
from rosd_core.project.facts import ModelFacts, measure, memory_bytes, model_facts, speed
from rosd_core.project.layout import NAMES, domain_name, domain_of
from rosd_core.project.texts import prompt_texts
from rosd_core.project.write import add_plots, copy_parts, new_params, write_params, write_pipeline
from rosd_core.prompts.chat import check_template
from rosd_core.prompts.fit import PromptBuilder
from rosd_core.prompts.templates import Prompts
from rosd_core.tables.user_file import read_user_file
from rosd_core.tasks.sources import choose, source_rows
from stages.paths import Paths

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SHIPPED = Path(__file__).resolve().parent.parent  # holds the shipped params.yaml and dvc.yaml
NO_LIMIT = 1 << 30
IGNORED = ".rosd/\n.*.tmp\n__pycache__\n"  # locks, scratch, unfinished outputs


@dataclass(frozen=True)
class Options:
    """What the user asked for; None: to be chosen."""

    model: str
    revision: str | None
    train: str
    test: str | None
    columns: list[str]  # prompt=question and the like
    grader: str | None
    method: str
    device: str
    iterations: int
    shots: int | None
    max_new_tokens: int | None
    minutes: float


@dataclass(frozen=True)
class Data:
    """The problems of a new project."""

    name: str
    entry: dict[str, Any]
    train: list[dict[str, Any]]
    test: list[dict[str, Any]]
    choice: Choice  # of the task


def create(folder: Path, options: Options) -> list[Choice]:
    """Write params.yaml, dvc.yaml and the pointer to the model into `folder`; the choices."""
    if not (SHIPPED / "dvc.yaml").is_file():
        raise RosdError(f"{SHIPPED}: dvc.yaml is missing; `rosd init` needs a clone of rosd.")
    check_options(options)
    folder.mkdir(parents=True, exist_ok=True)
    data = read_data(options)
    model, revision = find_or_convert(options.model, options.revision, folder / "models")
    check_model(model)
    tokenizer = load_tokenizer(model)
    for lack in check_template(tokenizer):
        print(f"{model}: its chat template has {lack}", file=sys.stderr)
    facts = model_facts(model)
    choices, texts, examples = choices_for(data, tokenizer, facts, options)
    params_file = folder / "params.yaml"
    if not params_file.is_file():
        new_params(SHIPPED / "params.yaml", params_file)
    write_params(params_file, choices, (data.name, data.entry), texts, examples)
    rewrite_method(params_file, options.method)
    rewrite_loop(params_file, options.iterations)
    if not (folder / "dvc.yaml").is_file():
        write_pipeline(SHIPPED / "dvc.yaml", folder)
        copy_parts(SHIPPED, folder)
        start_dvc(folder)
        add_plots(SHIPPED, folder)
    set_base(Paths(folder).model("base"), options.model, revision, model)
    return choices


def check_options(options: Options) -> None:
    """Raises RosdError for a method or a device that does not exist, before anything is written."""
    if options.method not in METHODS:
        raise RosdError(f"--method {options.method!r}; there are: {', '.join(METHODS)}.")
    if options.device not in ("cpu", "cuda"):
        raise RosdError(f"--device {options.device!r}; there are: cpu, cuda.")
    if options.device == "cuda" and not torch.cuda.is_available():
        raise RosdError("--device cuda: torch sees no GPU.")


def read_data(options: Options) -> Data:
    """The rows of the files, split as `prepare` will split them."""
    train_file, test_file = (
        None if file is None else str(Path(file).resolve())
        for file in (options.train, options.test)
    )
    assert train_file is not None
    frame = read_user_file(train_file, "--train")
    files = {"train_file": train_file, "test_file": test_file or train_file}
    entry, why = domain_of(frame, files, column_names(options.columns), options.grader)
    name, seed = domain_name(train_file), load_params(SHIPPED / "params.yaml").prepare.seed
    size = rules.split_sizes(len(frame), test_file is not None, options.device)
    if test_file is not None:
        size = min(size, len(read_user_file(test_file, "--test")))
    entry = {"task": entry.pop("task"), "train": "all", "test": size, **entry}
    seen: set[str] = set()
    test, train = (
        choose(name, split, source_rows(name, entry, split, count, seed), count, seed, seen)[0]
        for split, count in (("test", size), ("train", None))
    )
    if not train:
        raise RosdError(
            f"{train_file}: no problem is left to train on beside {size} test problems."
        )
    choice = Choice(f"prepare.domains.{name}", entry["task"], why)
    return Data(name, entry, train, test, choice)


def choices_for(
    data: Data, tokenizer: "PreTrainedTokenizerBase", facts: ModelFacts, options: Options
) -> tuple[list[Choice], dict[str, str], list[dict[str, str]]]:
    """All values with their reasons, the templates, and the solved examples."""
    rows, solved = data.train + data.test, any(row["solution"] for row in data.train)
    count, why = rules.shot_count(options.shots, facts, solved)
    examples = solved_examples(data.train, count)
    reflection = rules.reflection_choices(facts)
    shown = bool(examples) or any(row["system"] for row in rows)
    texts = prompt_texts(rows[0]["grader"], shown, reflection[0].value == "forced")
    prompts = Prompts(texts, examples={"plain": examples})
    lengths = measure(rows, PromptBuilder(prompts, tokenizer, NO_LIMIT), tokenizer)
    threads = idle_cores()
    flops = speed(options.device, threads, facts.hidden, facts.intermediate)
    chosen = rules.length_choices(lengths, facts, options.device, options.max_new_tokens)
    key, time = f"prepare.domains.{data.name}.test", (flops, options.minutes)
    test = rules.test_choice(key, len(data.test), chosen, facts, time)
    data.entry["test"] = test.value
    train = len(data.train) + (0 if options.test else len(data.test) - test.value)
    steps = rules.step_choices(train, chosen, facts, flops, options.minutes)
    choices = [
        data.choice,
        test,
        *rules.machine_choices(options.device, threads),
        Choice("prompts.examples", f"{len(examples)} solved", why),
        *rules.sampling_choices(facts),
        *chosen,
        *reflection,
        *steps,
        *rules.teacher_choices(steps[0].value),
        *rules.batch_choices(chosen, facts, memory_bytes(options.device)),
    ]
    return choices, texts, examples


def idle_cores() -> int:
    """Cores without other work, at least one."""
    return max(1, round(len(os.sched_getaffinity(0)) - os.getloadavg()[0]))


def start_dvc(folder: Path) -> None:
    """Make the folder a DVC project of its own, without git."""
    command = [sys.executable, "-m", "dvc", "init", "--no-scm", "--quiet"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise RosdError(f"{folder}: `dvc init --no-scm` failed: {done.stderr.strip()}")
    for name in (".dvcignore", ".gitignore"):
        with (folder / name).open("a", encoding="utf-8") as ignored:
            ignored.write(IGNORED)


def column_names(texts: Sequence[str]) -> dict[str, str] | None:
    """`prompt=question` and the like. Raises RosdError for anything else."""
    columns: dict[str, str] = {}
    for text in texts:
        for pair in text.split(","):
            ours, equals, theirs = pair.strip().partition("=")
            if not equals or ours not in NAMES:
                raise RosdError(
                    f"--columns {pair!r}: write NAME=COLUMN with prompt, answer, solution or "
                    "system as NAME."
                )
            columns[ours] = theirs
    return columns or None


def summary(choices: Sequence[Choice]) -> str:
    """The choices as text: a line per value, with its reason below."""
    return "\n".join(f"  {c.key} = {c.value}\n      {c.why}" for c in choices)
