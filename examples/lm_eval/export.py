"""The test problems of a project as a task of lm-eval, so that another program evaluates a model.

    python examples/lm_eval/export.py i3 [--domain chain] [--to lm_eval]

Writes `problems.jsonl` (the prompts as the model reads them, chat template applied), `rosd.yaml`
(the task) and prints the command. The answer is read by a regular expression of lm-eval, not by our
graders. A model's name is base or an iteration.
"""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import polars as pl
import typer
from ruamel.yaml import YAML

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from rosd_core.config.load import load_params
from rosd_core.errors import RosdError
from rosd_core.models.loading import load_tokenizer
from rosd_core.prompts.chat import chat_text
from rosd_core.prompts.fit import PromptBuilder
from rosd_core.prompts.templates import Prompts
from rosd_core.tables.io import read_table
from stages.paths import Paths

# grader: where lm-eval finds the answer; its last match counts
PATTERNS = {
    "answer_line": r"Answer:[ \t]*([^\n]*?)[ \t]*(?:\n|$)",
    "mcq": r"<answer>\s*([A-Z])\s*(?:</answer>|$)",
    "exact": r"(?s)\A\s*(.*?)\s*\Z",
}


def problems_of(table: pl.DataFrame, domain: str | None) -> pl.DataFrame:
    """The test problems of a domain, or of all. Raises RosdError where there is none, and for a
    grader that has no pattern.
    """
    found = table.filter(split="test")
    if domain is not None:
        found = found.filter(domain=domain)
    if found.is_empty():
        names = ", ".join(table.filter(split="test")["domain"].unique(maintain_order=True))
        raise RosdError(f"no test problem of domain {domain}; there are: {names or 'none'}.")
    graders = found["grader"].unique(maintain_order=True).to_list()
    if len(graders) > 1 or graders[0] not in PATTERNS:
        raise RosdError(
            f"the problems have the graders {', '.join(graders)}; a task needs one of "
            f"{', '.join(PATTERNS)}. Name a --domain."
        )
    return found


def task(folder: Path, grader: str, max_new_tokens: int) -> dict[str, Any]:
    """The task in lm-eval's words: greedy answers, compared as text."""
    last = {"function": "regex", "regex_pattern": PATTERNS[grader], "group_select": -1}
    match = {"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}
    return {
        "task": "rosd",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(folder / "problems.jsonl")}},
        "test_split": "test",
        "output_type": "generate_until",
        "doc_to_text": "text",
        "doc_to_target": "answer",
        "generation_kwargs": {"until": [], "do_sample": False, "max_gen_toks": max_new_tokens},
        "filter_list": [{"name": "last", "filter": [last, {"function": "take_first"}]}],
        "metric_list": [match],
        "metadata": {"version": 1},
    }


def main(
    model: str,
    domain: Annotated[str | None, typer.Option(help="Default: all of them.")] = None,
    to: Annotated[Path, typer.Option(help="The folder to write.")] = Path("lm_eval"),
    params: Path = Path("params.yaml"),
) -> None:
    values, paths = load_params(params), Paths(params.resolve().parent)
    p, texts = values.evaluate, values.prompts
    problems = problems_of(read_table("problems", paths.problems), domain)
    folder, target = paths.model_folder(model), to.resolve()
    tokenizer = load_tokenizer(folder)
    prompts = Prompts(texts.only("plain"), texts.thinking.student, texts.examples_for("plain"))
    builder = PromptBuilder(prompts, tokenizer, p.max_prompt_tokens)
    target.mkdir(parents=True, exist_ok=True)
    with (target / "problems.jsonl").open("w", encoding="utf-8") as file:
        for row in problems.iter_rows(named=True):
            fitted = builder.build(
                prompts.plain, row["problem_id"], row["system"], problem=row["prompt"]
            )
            text = chat_text(tokenizer, fitted.messages, prompts.thinking)
            line = {"problem_id": row["problem_id"], "text": text, "answer": row["answer"].strip()}
            file.write(json.dumps(line) + "\n")
    with (target / "rosd.yaml").open("w", encoding="utf-8") as file:
        YAML().dump(task(target, problems["grader"][0], p.max_new_tokens), file)
    print(
        f"lm_eval --model hf --model_args pretrained={folder},dtype=float32 --tasks rosd "
        f"--include_path {target} --device {values.machine.device} --batch_size 16 "
        f"--output_path {target}/results --log_samples"
    )


if __name__ == "__main__":
    try:
        typer.run(main)
    except RosdError as error:
        raise SystemExit(str(error)) from None
