"""One whole iteration of SDPO: our stages and TRL's SDPOTrainer on the same model and prompts.

    python benchmarks/iteration.py MODEL [--problems 8] [--group 8] [--tokens 48] [--apart]
                                         [--optimizer adafactor]

MODEL is a folder; the problems are those of examples/smollm2. Both sample problems x group
responses of at most `tokens` tokens, let a teacher read a correct response of the group, and make
one step of the same optimizer, in fp32 on one thread. Ours is `rosd repro distill@i1`, all of it;
with `--apart` five stages by hand, each with the start of its process. Ours also writes tables,
weights and the optimizer's state, TRL's script nothing.
Needs `pip install -e '.[trl]'`. Printed are wall time, CPU time and most memory of a process; the
ratios count.
"""

import json
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from used import Use, used_by

ROOT = Path(__file__).resolve().parent.parent
STAGES = ("rollout", "reflect", "align", "score", "distill")

# what runs in a process of its own, with its arguments as JSON
TRL = """
import json, sys
from pathlib import Path
import torch
from datasets import Dataset
from trl.experimental.sdpo import SDPOConfig, SDPOTrainer
from rosd_core.graders.graders import GRADERS
from rosd_core.models.loading import load_model

a = json.loads(sys.argv[1])
torch.set_num_threads(1)
model, tokenizer = load_model(Path(a["model"]), "cpu")
rows = Dataset.from_list([{"prompt": p, "answer": g} for p, g in a["problems"]])

def reward(completions, answer, **_):
    texts = [c[0]["content"] for c in completions]
    return [GRADERS["answer_line"](t, {"answer": g}).reward for t, g in zip(texts, answer)]

config = SDPOConfig(
    output_dir=a["out"], max_steps=1, num_generations=a["group"],
    per_device_train_batch_size=a["group"], gradient_accumulation_steps=len(a["problems"]),
    max_completion_length=a["tokens"], temperature=a["temperature"], learning_rate=1e-5,
    distillation_mode="topk_logits", distillation_topk=16, distillation_alpha=0.5,
    distillation_add_tail=True, teacher_model_kind="base", use_cpu=True, bf16=False, fp16=False,
    optim=a["optimizer"], gradient_checkpointing=False, report_to=[], save_strategy="no",
    logging_steps=1,
)
trainer = SDPOTrainer(
    model=model, reward_funcs=reward, args=config, train_dataset=rows, processing_class=tokenizer
)
trainer.train()
"""


def run(command: list[str], folder: Path) -> Use:
    """Run a command to its end; one thread. Exits where it fails."""
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    env |= {"TRL_EXPERIMENTAL_SILENCE": "1", "HF_HUB_OFFLINE": "1"}
    env["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), env["PATH"]])
    with (folder / "log.txt").open("a") as log:
        used = used_by(command, folder, env, log)
    if used is None:
        sys.exit(f"{' '.join(command[:4])} ... failed:\n{(folder / 'log.txt').read_text()[-3000:]}")
    return used


def ours_apart(project: Path) -> dict[str, Use]:
    """The five stages of one iteration; each is printed when it is done."""
    used = {}
    for stage in STAGES:
        used[stage] = run([sys.executable, "-m", f"stages.{stage}", "i1"], project)
        show(stage, used[stage])
    return used


def show(name: str, use: Use) -> None:
    line = f"{name:<10} {use.wall:7.1f} s {use.cpu:7.1f} s CPU {use.gib:5.1f} GiB"
    print(line, flush=True)


def prepared(
    folder: Path, model: Path, problems: int, group: int, tokens: int, optimizer: str
) -> Path:
    """A project whose params are those of the comparison, with its problems."""
    from rosd_core.config.edit import rewrite
    from stages.init_project import Options, create

    run([sys.executable, str(ROOT / "examples/smollm2/make_data.py"), str(folder)], folder)
    columns = ["prompt=puzzle,answer=odd_one,solution=worked"]
    options = Options(
        model=str(model), revision=None, train=str(folder / "train.jsonl"),
        test=str(folder / "test.jsonl"), columns=columns, grader=None, method="sdpo", device="cpu",
        iterations=1, shots=2, max_new_tokens=tokens, minutes=15.0,
    )  # fmt: skip
    project = folder / "project"
    create(project, options)

    def change(data, _yaml) -> None:
        data["machine"]["threads"] = 1
        data["rollout"] |= {"problems": problems, "group_size": group, "shard_problems": problems}
        data["distill"] |= {"rows_per_step": problems * group, "shuffle": "problems"}
        data["distill"]["optimizer"] = optimizer
        # TRL has no teacher that answers problems itself, to see how good it is
        data["score"] |= {"top_k": 16, "lift": "off", "teacher": "base", "teacher_samples": 0}

    rewrite(project / "params.yaml", change)
    run(["rosd", "repro", "prepare"], project)
    return project


def trl(folder: Path, model: Path, project: Path, group: int, tokens: int, optimizer: str) -> Use:
    """TRL on the chat messages of the same problems."""
    import polars as pl

    from rosd_core.config.load import load_params
    from rosd_core.prompts.templates import Prompts
    from rosd_core.tables.io import read_table

    params = load_params(project / "params.yaml")
    prompts = Prompts(params.prompts.only("plain"), False, params.prompts.examples_for("plain"))
    ids = pl.read_parquet(project / "iterations/i1/rollouts.parquet")["problem_id"].unique()
    rows = read_table("problems", project / "data/problems.parquet")
    chosen = rows.filter(pl.col("problem_id").is_in(ids.to_list()))
    problems = [(prompts.plain(r["prompt"]), r["answer"]) for r in chosen.iter_rows(named=True)]
    arguments = {
        "model": str(model), "problems": problems, "group": group, "tokens": tokens,
        "temperature": params.rollout.temperature, "out": str(folder / "trl"),
        "optimizer": {"adamw": "adamw_torch_fused"}.get(optimizer, optimizer),
    }  # fmt: skip
    return run([sys.executable, "-c", TRL, json.dumps(arguments)], folder)


def main(
    model: Path,
    problems: Annotated[int, typer.Option()] = 8,
    group: Annotated[int, typer.Option()] = 8,
    tokens: Annotated[int, typer.Option()] = 48,
    apart: Annotated[bool, typer.Option(help="Also stage by stage.")] = False,
    optimizer: Annotated[str, typer.Option(help="adamw or adafactor, of both.")] = "adamw",
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        project = prepared(folder, model.resolve(), problems, group, tokens, optimizer)
        if apart:  # in a project of its own: what one has done would be there for the other
            used = ours_apart(shutil.copytree(project, folder / "apart")).values()
            show("together", Use(sum(u.wall for u in used), sum(u.cpu for u in used), 0.0))
        ours = run(["rosd", "repro", "distill@i1"], project)
        show("ours", ours)
        theirs = trl(folder, model.resolve(), project, group, tokens, optimizer)
    show("TRL", theirs)
    print(
        f"ours / TRL: time {ours.wall / theirs.wall:.2f}, CPU time {ours.cpu / theirs.cpu:.2f}, "
        f"memory {ours.gib / theirs.gib:.2f}"
    )


if __name__ == "__main__":
    typer.run(main)
